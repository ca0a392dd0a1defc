// The messages of proto/shim.proto in C, as protoc-c writes them. Nothing here is written by hand but this file.
#ifndef CSHIMMESSAGES_H
#define CSHIMMESSAGES_H

#include "shim.pb-c.h"

#endif
