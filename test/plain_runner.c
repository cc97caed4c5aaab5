/* A plain runner for Criterion's tests, in place of its library.
 *
 * Criterion's library maps an arena where the thread sanitizer keeps its shadow, so builds with
 * that sanitizer link this instead. The tests are compiled against Criterion's headers as ever:
 * Test() leaves a pointer in the section cr_tst, TestSuite() one in cr_sts. Each test runs in a
 * process of its own, one after the other. The summary is worded as Criterion words it.
 *
 *     some_test [--filter PATTERN]     PATTERN as of fnmatch(3), over suite/test */
#include <criterion/criterion.h>
#include <criterion/options.h>
#include <criterion/parameterized.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMEOUT_S 120

extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak));
extern struct criterion_suite *__stop_cr_sts[] __attribute__((weak));

struct criterion_options criterion_options;

/* What the process of a test knows of it. */
static struct {
    const struct criterion_test *test;
    const struct criterion_suite *suite;
    void *param;
    bool failed;
} now;

static const struct criterion_suite *suite_of(const struct criterion_test *test)
{
    for (struct criterion_suite **s = __start_cr_sts; s < __stop_cr_sts; s++)
        if (*s && strcmp((*s)->name, test->category) == 0)
            return *s;
    return NULL;
}

void criterion_internal_test_setup(void)
{
    if (now.suite && now.suite->data && now.suite->data->init)
        now.suite->data->init();
    if (now.test->data->init)
        now.test->data->init();
}

void criterion_internal_test_main(void (*fn)(void))
{
    if (now.test->data->kind_ == CR_TEST_PARAMETERIZED)
        ((void (*)(void *))fn)(now.param);
    else
        fn();
}

void criterion_internal_test_teardown(void)
{
    if (now.test->data->fini)
        now.test->data->fini();
    if (now.suite && now.suite->data && now.suite->data->fini)
        now.suite->data->fini();
}

void criterion_send_assert(struct criterion_assert_stats *stats)
{
    if (stats->passed)
        return;
    now.failed = true;
    printf("%s:%u: Assertion Failed\n%s\n", stats->file, stats->line,
           stats->message ? stats->message : "");
}

void cri_asserts_passed_incr(void)
{
}

void criterion_abort_test(void)
{
    fflush(stdout);
    exit(1);
}

void criterion_continue_test(void)
{
}

void criterion_skip_test(const char *format, ...)
{
    fflush(stdout);
    exit(0);
}

/* The library's sentences take the macro's arguments; the place in the source says as much. */
char *cr_translate_assert_msg(int message, ...)
{
    va_list args;
    va_start(args, message);
    const char *text = va_arg(args, const char *);
    char *copy = strdup(text ? text : "");
    va_end(args);
    return copy;
}

int cr_asprintf(char **to, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int size = vasprintf(to, format, args);
    va_end(args);
    return size;
}

void cr_asprintf_free(char *text)
{
    free(text);
}

static bool ended_well(const struct criterion_test *test, int status)
{
    int due = test->data->signal;
    if (due)
        return WIFSIGNALED(status) && WTERMSIG(status) == due;
    return WIFEXITED(status) && WEXITSTATUS(status) == test->data->exit_code;
}

/* Runs the test in a process; true where it ended as it should. */
static bool run_one(const struct criterion_test *test, void *param)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        now.test = test;
        now.suite = suite_of(test);
        now.param = param;
        alarm(TIMEOUT_S);
        test->test();
        fflush(stdout);
        exit(now.failed ? 1 : 0);
    }
    int status = 0;
    bool well = pid > 0 && waitpid(pid, &status, 0) == pid && ended_well(test, status);
    if (!well)
        printf("[FAIL] %s::%s (status %#x)\n", test->category, test->name, (unsigned)status);
    return well;
}

static void run(const struct criterion_test *test, unsigned *tested, unsigned *passing)
{
    if (test->data->kind_ != CR_TEST_PARAMETERIZED) {
        *tested += 1;
        *passing += run_one(test, NULL);
        return;
    }
    struct criterion_test_params params = test->data->param_();
    for (size_t i = 0; i < params.length; i++) {
        *tested += 1;
        *passing += run_one(test, (char *)params.params + i * params.size);
    }
}

int main(int argc, char **argv)
{
    const char *filter = argc == 3 && strcmp(argv[1], "--filter") == 0 ? argv[2] : "*";
    unsigned tested = 0, passing = 0;
    for (struct criterion_test **t = __start_cr_tst; t < __stop_cr_tst; t++) {
        char name[512];
        if (!*t || (*t)->data->disabled)
            continue;
        snprintf(name, sizeof(name), "%s/%s", (*t)->category, (*t)->name);
        if (fnmatch(filter, name, 0) == 0)
            run(*t, &tested, &passing);
    }
    printf("[====] Synthesis: Tested: %u | Passing: %u | Failing: %u | Crashing: 0\n", tested,
           passing, tested - passing);
    return tested == passing ? 0 : 1;
}
