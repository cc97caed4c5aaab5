/* lasca-check-rdb: says whether an RDB file can be loaded, without a server. */
#include <stdio.h>
#include <sys/stat.h>

#include "proto/slice.h"
#include "server/check/rdb_check.h"

static const char usage[] = "usage: lasca-check-rdb FILE\n"
                            "       lasca-check-rdb -v | --version\n"
                            "\n"
                            "Reads all of an RDB file (dump.rdb, or the base of an append-only "
                            "file) and says whether\n"
                            "it can be loaded. The exit status is 0 where it can, else 1.\n";

static bool is_either(const char *word, const char *a, const char *b)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && is_either(argv[1], "-v", "--version")) {
        printf("lasca-check-rdb %s\n", LASCA_VERSION);
        return 0;
    }
    bool asks = argc == 2 && is_either(argv[1], "-h", "--help");
    if (argc != 2 || argv[1][0] == '-') {
        fputs(usage, asks ? stdout : stderr);
        return asks ? 0 : 1;
    }
    size_t end = 0;
    if (!rdb_check_part(argv[1], &end))
        return 1;
    struct stat st;
    if (stat(argv[1], &st) == 0 && (size_t)st.st_size > end)
        printf("[info] %zu bytes follow, which were not looked at: commands of an append-only "
               "file?\n", (size_t)st.st_size - end);
    return 0;
}
