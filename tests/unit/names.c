/* Writes down, in the file LOOK_UPS, what a process asks name servers for: names of addresses, addresses of names. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

static void tell(const char *what) {
    FILE *file = fopen(getenv("LOOK_UPS"), "a");
    fprintf(file, "%s\n", what);
    fclose(file);
}

int getnameinfo(const struct sockaddr *address, socklen_t size, char *host, socklen_t host_size, char *service,
                socklen_t service_size, int flags) {
    if (host && host_size && !(flags & NI_NUMERICHOST)) tell("the name of an address");
    int (*next)(const struct sockaddr *, socklen_t, char *, socklen_t, char *, socklen_t, int) =
        dlsym(RTLD_NEXT, "getnameinfo");
    return next(address, size, host, host_size, service, service_size, flags | NI_NUMERICHOST);
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    char bytes[16];
    if (host && inet_pton(AF_INET, host, bytes) != 1 && inet_pton(AF_INET6, host, bytes) != 1) tell(host);
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        dlsym(RTLD_NEXT, "getaddrinfo");
    return next(host, service, hints, found);
}
