/* The handlers behind the crash report: see crash.h. */
#include "server/crash.h"

#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "server/core.h"
#include "server/crash_inside.h"
#include "server/server.h"

#define STACK_SIZE (64 * 1024)
/* A report that takes longer than this hangs. */
#define REPORT_SECONDS 10
/* How long to wait for the other threads' stacks, in steps of a millisecond. */
#define THREADS_WAIT_MS 500
/* Asks a thread for its stack. */
#define STACK_SIGNAL (SIGRTMIN + 2)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LEFT_TO_SANITIZER true
#else
#define LEFT_TO_SANITIZER false
#endif

static const int crash_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
#define CRASH_SIGNALS (sizeof(crash_signals) / sizeof(crash_signals[0]))

/* --- Stacks of other threads --- */

static pid_t own_thread(void)
{
    return (pid_t)syscall(SYS_gettid);
}

/* On the thread that was asked. */
static void on_stack_asked(int number, siginfo_t *info, void *context)
{
    struct crash *x = server->crash;
    int saved = errno;
    uint32_t slot = atomic_fetch_add(&x->arrived, 1);
    if (slot < CRASH_THREADS_MAX) {
        struct crash_thread *t = &x->threads[slot];
        t->id = own_thread();
        t->frame_count = backtrace(t->frames, CRASH_FRAMES_MAX);
        atomic_store_explicit(&t->filled, true, memory_order_release);
    }
    while (atomic_load(&x->halts))
        pause();
    errno = saved;
}

/* Threads of the kernel's that work for io_uring take no signals. */
static bool is_kernel_worker(const char *id)
{
    char path[64] = "/proc/self/task/", name[16];
    strncat(path, id, 16);
    strncat(path, "/comm", 8);
    crash_read_file(path, name, sizeof(name));
    return strncmp(name, "iou-", 4) == 0;
}

struct linux_dirent64 {
    uint64_t ino;
    int64_t off;
    unsigned short reclen;
    unsigned char type;
    char name[];
};

static pid_t read_id(const char *text)
{
    pid_t id = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        id = id * 10 + (*text - '0');
    return id;
}

/* Asks all other threads for their stacks; returns how many were asked. readdir(3) would allocate.
 */
static uint32_t ask_threads(void)
{
    char bytes[4096] __attribute__((aligned(8)));
    uint32_t asked = 0;
    int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    long n;
    while (fd >= 0 && (n = syscall(SYS_getdents64, fd, bytes, sizeof(bytes))) > 0) {
        for (long at = 0; at < n;) {
            const struct linux_dirent64 *entry = (const void *)(bytes + at);
            pid_t id = read_id(entry->name);
            at += entry->reclen;
            if (id && id != own_thread() && !is_kernel_worker(entry->name))
                asked += syscall(SYS_tgkill, getpid(), id, STACK_SIGNAL) == 0;
        }
    }
    if (fd >= 0)
        close(fd);
    return asked < CRASH_THREADS_MAX ? asked : CRASH_THREADS_MAX;
}

/* Waits a while; whoever has not answered by then is left out. */
static uint32_t gather_threads(bool halt)
{
    struct crash *x = server->crash;
    for (uint32_t i = 0; i < CRASH_THREADS_MAX; i++)
        atomic_store(&x->threads[i].filled, false);
    atomic_store(&x->arrived, 0);
    atomic_store(&x->halts, halt);
    uint32_t asked = ask_threads();
    for (int ms = 0; ms < THREADS_WAIT_MS && atomic_load(&x->arrived) < asked; ms++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL); /* the last may yet be at it */
    uint32_t arrived = atomic_load(&x->arrived);
    return arrived < CRASH_THREADS_MAX ? arrived : CRASH_THREADS_MAX;
}

/* --- The crash --- */

/* Only the cause, where everything else may be in ruins: first. */
static void write_report(const struct crash_event *e)
{
    struct crash_out out = {.fd = log_open_raw(&server->log)};
    void *frames[CRASH_FRAMES_MAX];
    if (out.fd < 0)
        out.fd = STDERR_FILENO;
    uint32_t threads = gather_threads(true);
    crash_write_head(&out, e);
    crash_write_registers(&out, e->context);
    crash_write_command(&out);
    crash_text(&out, "\n------ STACK TRACE ------\n");
    crash_flush(&out); /* a stack that is destroyed may end all this */
    crash_write_frames(&out, frames, backtrace(frames, CRASH_FRAMES_MAX));
    crash_write_cores(&out);
    crash_text(&out, "\n------ STACKS OF OTHER THREADS ------\n");
    crash_write_threads(&out, threads);
    crash_write_server(&out);
    crash_write_end(&out);
    crash_flush(&out);
}

static void end_by(int number)
{
    signal(number, SIG_DFL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    syscall(SYS_tgkill, getpid(), own_thread(), number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    _exit(128 + number);
}

static void on_crash(int number, siginfo_t *info, void *context)
{
    struct crash *x = server->crash;
    struct crash_event event = {
        .signal = number, .info = info, .context = context, .thread = own_thread()};
    if (!server->config.crash_log_enabled)
        end_by(number);
    if (atomic_exchange(&x->busy, true))
        sleep(REPORT_SECONDS); /* another thread reports, and ends us */
    signal(SIGALRM, SIG_DFL);
    alarm(REPORT_SECONDS);
    write_report(&event);
    end_by(number);
}

/* --- Stacks on demand --- */

static void on_alarm(int number, siginfo_t *info, void *context)
{
    struct crash *x = server->crash;
    void *frames[CRASH_FRAMES_MAX];
    int saved = errno;
    if (atomic_exchange(&x->busy, true))
        return;
    struct crash_out out = {.fd = log_open_raw(&server->log)};
    uint32_t threads = gather_threads(false);
    crash_number(&out, getpid());
    crash_text(&out, ":signal-handler (");
    crash_number(&out, time(NULL));
    crash_text(&out, ") # Received SIGALRM\n\n------ STACK TRACE ------\nthread ");
    crash_number(&out, own_thread());
    crash_text(&out, "\n");
    crash_write_frames(&out, frames, backtrace(frames, CRASH_FRAMES_MAX));
    crash_write_threads(&out, threads);
    crash_text(&out, "------\n");
    crash_flush(&out);
    log_close_raw(&server->log, out.fd);
    atomic_store(&x->busy, false);
    errno = saved;
}

/* --- Installing --- */

static void handle(int number, void (*handler)(int, siginfo_t *, void *), int flags)
{
    struct sigaction action = {.sa_sigaction = handler};
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | flags;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < CRASH_SIGNALS; i++)
        sigaddset(&action.sa_mask, crash_signals[i]);
    sigaddset(&action.sa_mask, STACK_SIGNAL);
    sigaction(number, &action, NULL);
}

void crash_install(void)
{
    if (LEFT_TO_SANITIZER)
        return;
    void *at = mmap(NULL, sizeof(*server->crash), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return;
    server->crash = at;
    crash_symbols_open(&server->crash->symbols);
    void *frame;
    backtrace(&frame, 1); /* loads what it needs */
    crash_enter_thread(NULL);
    for (size_t i = 0; i < CRASH_SIGNALS; i++)
        handle(crash_signals[i], on_crash, 0);
    handle(SIGALRM, on_alarm, SA_RESTART);
    handle(STACK_SIGNAL, on_stack_asked, SA_RESTART);
}

void *crash_enter_thread(struct core *c)
{
    if (c)
        c->thread_id = own_thread();
    if (!server->crash)
        return NULL;
    void *bytes = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                       0);
    if (bytes == MAP_FAILED)
        return NULL;
    stack_t stack = {.ss_sp = bytes, .ss_size = STACK_SIZE};
    sigaltstack(&stack, NULL);
    return bytes;
}

void crash_leave_thread(void *stack)
{
    if (!stack)
        return;
    sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
    munmap(stack, STACK_SIZE);
}
