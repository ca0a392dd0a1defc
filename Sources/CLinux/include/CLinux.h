#include <unistd.h>
#include <signal.h>
#include <sys/epoll.h>
#include <stdlib.h>
