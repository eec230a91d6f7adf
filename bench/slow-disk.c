/*
 * A disk that takes some time longer to flush PostgreSQL's log: preloaded into the server, it has
 * fdatasync() and fsync() of a file in pg_wal return so many microseconds later as SLOW_DISK_DELAY says.
 * Nothing else waits, as the log's flush alone is what a commit waits for.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int is_log(int file)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = '\0';
    return strstr(path, "/pg_wal/") != NULL;
}

static void delay(void)
{
    const char *given = getenv("SLOW_DISK_DELAY");
    long microseconds = given ? atol(given) : 0;
    struct timespec left = {microseconds / 1000000, microseconds % 1000000 * 1000};
    while (nanosleep(&left, &left) == -1 && errno == EINTR)
        ;
}

static int slowly(const char *name, int file)
{
    int (*flush)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (is_log(file))
        delay();
    return flush(file);
}

int fdatasync(int file)
{
    return slowly("fdatasync", file);
}

int fsync(int file)
{
    return slowly("fsync", file);
}
