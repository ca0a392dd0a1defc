#include "CShimMessages.h"
