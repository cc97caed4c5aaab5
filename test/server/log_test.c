/* The log: the form of a line, levels, files, threads. */
#include "server/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char scratch[] = "/tmp/lasca-log-XXXXXX";

static void enter_scratch(void)
{
    cr_assert(mkdtemp(scratch) && chdir(scratch) == 0);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    return remove(path);
}

static void leave_scratch(void)
{
    if (access(scratch, F_OK) == 0)
        nftw(scratch, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TestSuite(log, .fini = leave_scratch);

/* How many lines of a file match. */
static int count_lines(const char *path, const char *pattern)
{
    regex_t re;
    cr_assert_eq(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    FILE *f = fopen(path, "r");
    cr_assert(f);
    char line[4096];
    int found = 0;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        found += regexec(&re, line, 0, NULL, 0) == 0;
    }
    fclose(f);
    regfree(&re);
    return found;
}

#define HEAD "^[0-9]+:M [0-3][0-9] [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3} "

Test(log, lines_have_the_form_of_redis)
{
    struct log l;
    enter_scratch();
    cr_assert(log_init(&l, LOG_DEBUG, "x.log"));
    log_write(&l, LOG_DEBUG, "one %d", 1);
    log_write(&l, LOG_VERBOSE, "two");
    log_write(&l, LOG_NOTICE, "three");
    log_write(&l, LOG_WARNING, "four");
    cr_expect_eq(count_lines("x.log", HEAD "\\. one 1$"), 1);
    cr_expect_eq(count_lines("x.log", HEAD "- two$"), 1);
    cr_expect_eq(count_lines("x.log", HEAD "\\* three$"), 1);
    cr_expect_eq(count_lines("x.log", HEAD "# four$"), 1);
    char own[32];
    snprintf(own, sizeof own, "^%d:M ", (int)getpid());
    cr_expect_eq(count_lines("x.log", own), 4);
    log_deinit(&l);
}

Test(log, lower_levels_are_left_out)
{
    struct log l;
    enter_scratch();
    cr_assert(log_init(&l, LOG_WARNING, "x.log"));
    log_write(&l, LOG_NOTICE, "no");
    log_write(&l, LOG_WARNING, "yes");
    log_set_level(&l, LOG_DEBUG);
    log_write(&l, LOG_DEBUG, "yes");
    log_set_level(&l, LOG_NOTHING);
    log_write(&l, LOG_WARNING, "no");
    cr_expect_eq(count_lines("x.log", "yes$"), 2);
    cr_expect_eq(count_lines("x.log", "."), 2);
    log_deinit(&l);
}

Test(log, a_file_may_be_renamed_and_the_directory_left)
{
    struct log l;
    enter_scratch();
    cr_assert(log_init(&l, LOG_NOTICE, "x.log"));
    cr_assert_eq(chdir("/"), 0);
    log_write(&l, LOG_NOTICE, "before");
    cr_assert_eq(chdir(scratch), 0);
    cr_assert_eq(rename("x.log", "x.log.1"), 0);
    log_write(&l, LOG_NOTICE, "after");
    cr_expect_eq(count_lines("x.log.1", "before$"), 1);
    cr_expect_eq(count_lines("x.log", "after$"), 1);
    log_deinit(&l);
    cr_assert(log_init(&l, LOG_NOTICE, "x.log"));
    log_write(&l, LOG_NOTICE, "later");
    cr_expect_eq(count_lines("x.log", "(after|later)$"), 2, "an old log is appended to");
    log_deinit(&l);
}

Test(log, a_file_that_cannot_be_opened_is_told)
{
    struct log l;
    errno = 0;
    cr_expect_not(log_init(&l, LOG_NOTICE, "/not/there/x.log"));
    cr_expect_eq(errno, ENOENT);
}

Test(log, an_event_stays_one_line_of_bounded_size)
{
    struct log l;
    enter_scratch();
    cr_assert(log_init(&l, LOG_NOTICE, "x.log"));
    char big[3000];
    memset(big, 'b', sizeof big);
    big[2999] = '\0';
    log_write(&l, LOG_NOTICE, "a\nb\r\x1b" "c%s", big);
    log_write(&l, LOG_NOTICE, "next");
    cr_expect_eq(count_lines("x.log", HEAD "\\* a b  cb+$"), 1);
    cr_expect_eq(count_lines("x.log", HEAD "\\* next$"), 1);
    FILE *f = fopen("x.log", "r");
    cr_expect(fgets(big, sizeof big, f) && strlen(big) == LOG_LINE_SIZE_MAX);
    fclose(f);
    log_deinit(&l);
}

Test(log, standard_output_is_the_default)
{
    struct log l;
    enter_scratch();
    cr_assert(freopen("out", "w", stdout));
    cr_assert(log_init(&l, LOG_NOTICE, ""));
    log_write(&l, LOG_NOTICE, "hello");
    cr_expect_eq(count_lines("out", HEAD "\\* hello$"), 1);
    log_deinit(&l);
}

#define THREADS 4
#define LINES 500

static void *write_many(void *log)
{
    for (int i = 0; i < LINES; i++)
        log_write(log, LOG_NOTICE, "line %d end", i);
    return NULL;
}

Test(log, lines_of_threads_do_not_mix)
{
    struct log l;
    enter_scratch();
    cr_assert(log_init(&l, LOG_NOTICE, "x.log"));
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, write_many, &l), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cr_expect_eq(count_lines("x.log", HEAD "\\* line [0-9]+ end$"), THREADS * LINES);
    log_deinit(&l);
}
