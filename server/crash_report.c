/* The sections of the crash report: see crash.h. */
#include <dlfcn.h>
#include <sys/utsname.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "server/bundle.h"
#include "server/crash_inside.h"
#include "server/owner.h"
#include "server/persist/load.h"
#include "server/server.h"
#include "server/session.h"

/* An argument is shown so far, and so many of them. */
#define ARGUMENT_SIZE_MAX 64
#define ARGUMENTS_MAX 16

/* --- Addresses --- */

/* In a library the linker's own table has to do. */
static void write_library(struct crash_out *o, const void *address)
{
    Dl_info info;
    if (!dladdr(address, &info) || !info.dli_fname)
        return;
    crash_text(o, " ");
    crash_text(o, info.dli_fname);
    crash_text(o, "(");
    if (info.dli_sname)
        crash_text(o, info.dli_sname);
    const void *from = info.dli_sname ? info.dli_saddr : info.dli_fbase;
    crash_text(o, "+");
    crash_hex(o, (uint64_t)((uintptr_t)address - (uintptr_t)from), 1);
    crash_text(o, ")");
}

/* An address with its name. What stands behind that is the offset in the file: addr2line's
 * argument. */
static void write_address(struct crash_out *o, const void *address)
{
    const struct crash_symbols *s = &server->crash->symbols;
    size_t offset;
    const char *name = crash_symbols_find(s, (uintptr_t)address, &offset);
    crash_hex(o, (uintptr_t)address, 16);
    if (name) {
        crash_text(o, " ");
        crash_text(o, name);
        crash_text(o, "+");
        crash_hex(o, offset, 1);
    }
    if ((uintptr_t)address >= s->base && (uintptr_t)address < s->end) {
        crash_text(o, " [lasca-server+");
        crash_hex(o, (uintptr_t)address - s->base, 1);
        crash_text(o, "]");
    } else {
        write_library(o, address);
    }
}

void crash_write_frames(struct crash_out *o, void *const *frames, int count)
{
    for (int i = 0; i < count; i++) {
        crash_text(o, i < 10 ? " #" : "#");
        crash_number(o, i);
        crash_text(o, " ");
        write_address(o, frames[i]);
        crash_text(o, "\n");
    }
}

void crash_write_threads(struct crash_out *o, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct crash_thread *t = &server->crash->threads[i];
        if (!atomic_load_explicit(&t->filled, memory_order_acquire))
            continue;
        crash_text(o, "thread ");
        crash_number(o, t->id);
        crash_text(o, "\n");
        crash_write_frames(o, t->frames, t->frame_count);
    }
}

/* --- Signal and registers --- */

/* Where the context stands. */
static const void *context_pc(const void *context)
{
    const ucontext_t *u = context;
#if defined(__x86_64__)
    return (const void *)u->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (const void *)u->uc_mcontext.pc;
#endif
}

static void write_cause(struct crash_out *o, const struct crash_event *e)
{
    crash_text(o, " crashed by signal: ");
    crash_number(o, e->signal);
    crash_text(o, ", si_code: ");
    crash_number(o, e->info->si_code);
    crash_text(o, "\n");
    if (e->info->si_code <= 0) {
        crash_text(o, "Killed by PID: ");
        crash_number(o, e->info->si_pid);
        crash_text(o, ", UID: ");
        crash_number(o, (int64_t)e->info->si_uid);
    } else {
        crash_text(o, "Accessing address: ");
        crash_hex(o, (uintptr_t)e->info->si_addr, 1);
    }
    crash_text(o, "\nCrashed running the instruction at: ");
    write_address(o, context_pc(e->context));
    crash_text(o, "\n");
}

void crash_write_head(struct crash_out *o, const struct crash_event *e)
{
    const struct crash_assertion *a = &server->crash->assertion;
    const struct core *self = core_self();
    crash_text(o, "\n\n=== LASCA BUG REPORT START: Cut & paste starting from here ===\n");
    crash_number(o, getpid());
    crash_text(o, ":signal-handler (");
    crash_number(o, time(NULL));
    crash_text(o, ") # Lasca " LASCA_VERSION);
    write_cause(o, e);
    if (a->text && e->signal == SIGABRT) {
        crash_text(o, "=== ASSERTION FAILED ===\n==> ");
        crash_text(o, a->file);
        crash_text(o, ":");
        crash_number(o, a->line);
        crash_text(o, " '");
        crash_text(o, a->text);
        crash_text(o, "' is not true\n");
    }
    crash_line(o, "Thread", e->thread);
    if (self)
        crash_line(o, "Core", self->index);
    else
        crash_text(o, "Core: none\n");
    crash_flush(o);
}

#if defined(__x86_64__)
static const struct {
    const char *name;
    int index;
} registers[] = {
    {"RAX", REG_RAX}, {"RBX", REG_RBX}, {"RCX", REG_RCX}, {"RDX", REG_RDX}, {"RDI", REG_RDI},
    {"RSI", REG_RSI}, {"RBP", REG_RBP}, {"RSP", REG_RSP}, {"R8", REG_R8},   {"R9", REG_R9},
    {"R10", REG_R10}, {"R11", REG_R11}, {"R12", REG_R12}, {"R13", REG_R13}, {"R14", REG_R14},
    {"R15", REG_R15}, {"RIP", REG_RIP}, {"EFL", REG_EFL},
};

static void write_all_registers(struct crash_out *o, const ucontext_t *u)
{
    for (size_t i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
        crash_text(o, registers[i].name);
        crash_text(o, ":");
        crash_hex(o, (uint64_t)u->uc_mcontext.gregs[registers[i].index], 16);
        crash_text(o, i % 4 == 3 ? "\n" : "  ");
    }
}

static uintptr_t stack_pointer(const ucontext_t *u)
{
    return (uintptr_t)u->uc_mcontext.gregs[REG_RSP];
}
#elif defined(__aarch64__)
static void write_all_registers(struct crash_out *o, const ucontext_t *u)
{
    for (int i = 0; i < 31; i++) {
        crash_text(o, "X");
        crash_number(o, i);
        crash_text(o, ":");
        crash_hex(o, u->uc_mcontext.regs[i], 16);
        crash_text(o, i % 4 == 3 ? "\n" : "  ");
    }
    crash_text(o, "SP:");
    crash_hex(o, u->uc_mcontext.sp, 16);
    crash_text(o, "  PC:");
    crash_hex(o, u->uc_mcontext.pc, 16);
}

static uintptr_t stack_pointer(const ucontext_t *u)
{
    return u->uc_mcontext.sp;
}
#endif

#define STACK_WORDS 16

void crash_write_registers(struct crash_out *o, const void *context)
{
    crash_text(o, "\n------ REGISTERS ------\n");
    write_all_registers(o, context);
    crash_text(o, "\n");
    uint64_t word;
    for (size_t i = STACK_WORDS; i-- > 0;) {
        uintptr_t at = stack_pointer(context) + i * sizeof(word);
        if (!crash_peek(&word, (const void *)at, sizeof(word)))
            continue;
        crash_text(o, "(");
        crash_hex(o, at, 16);
        crash_text(o, ") -> ");
        crash_hex(o, word, 16);
        crash_text(o, "\n");
    }
    crash_flush(o);
}

/* --- What ran --- */

struct crash_command {
    const struct command *row;
    const struct slice *argv;
    uint32_t argc;
    uint64_t client; /* 0: not known */
};

static bool from_bundle(const struct bundle *at, struct crash_command *found)
{
    struct bundle b;
    struct bundle_part part;
    struct bundle_item item;
    if (!crash_peek(&b, at, sizeof(b)) || !b.part_count ||
        !crash_peek(&part, b.parts, sizeof(part)) || !part.item_count)
        return false;
    uint32_t next = part.done < part.item_count ? part.done : part.item_count - 1;
    if (!crash_peek(&item, part.items + next, sizeof(item)))
        return false;
    *found = (struct crash_command){item.command, item.argv, item.argc, 0};
    if (b.session)
        crash_peek(&found->client, &b.session->id, sizeof(found->client));
    return true;
}

/* The run list's next place is known; a group may begin before it. */
static bool from_requests(const struct core *c, struct crash_command *found)
{
    for (uint32_t back = 1; back <= c->request_next; back++) {
        struct request r;
        if (!crash_peek(&r, &c->requests[c->request_next - back], sizeof(r)))
            return false;
        if (request_span(&r) != back)
            continue;
        *found = (struct crash_command){r.command, r.argv, r.argc, 0};
        if (r.session)
            crash_peek(&found->client, &r.session->id, sizeof(found->client));
        return true;
    }
    return false;
}

/* No command pays for this: what is looked at is what the core's steps need themselves. */
static bool find_command(const struct core *c, struct crash_command *found)
{
    if (c->acting)
        return from_bundle(c->acting, found);
    return c->request_next && from_requests(c, found);
}

static bool is_secret(const char *name)
{
    static const char *const secret[] = {"auth", "hello", "acl", "config", "migrate"};
    for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++)
        if (strcmp(name, secret[i]) == 0)
            return true;
    return false;
}

static void write_argument(struct crash_out *o, const struct slice *at)
{
    struct slice s;
    char bytes[ARGUMENT_SIZE_MAX];
    crash_text(o, "'");
    if (crash_peek(&s, at, sizeof(s))) {
        size_t size = s.size < sizeof(bytes) ? s.size : sizeof(bytes);
        if (size && !crash_peek(bytes, s.data, size))
            size = 0;
        for (size_t i = 0; i < size; i++)
            if ((unsigned char)bytes[i] < ' ' || (unsigned char)bytes[i] > '~')
                bytes[i] = '.';
        crash_bytes(o, bytes, size);
        crash_text(o, s.size > size ? "'... " : "' ");
        crash_number(o, (int64_t)s.size);
        crash_text(o, " bytes");
    }
    crash_text(o, "\n");
}

static void write_arguments(struct crash_out *o, const struct crash_command *found)
{
    const char *name = found->row ? found->row->name : "(unknown command)";
    bool secret = !found->row || is_secret(name);
    if (found->client)
        crash_line(o, "client id", (int64_t)found->client);
    crash_text(o, "name: ");
    crash_text(o, name);
    crash_text(o, "\n");
    crash_line(o, "arguments", found->argc);
    for (uint32_t i = 0; i < found->argc && i < ARGUMENTS_MAX; i++) {
        crash_text(o, "argv[");
        crash_number(o, i);
        crash_text(o, "]: ");
        if (secret && i)
            crash_text(o, "(redacted)\n");
        else
            write_argument(o, &found->argv[i]);
    }
}

void crash_write_command(struct crash_out *o)
{
    const struct core *c = core_self();
    struct crash_command found;
    crash_text(o, "\n------ CURRENT COMMAND ------\n");
    if (!c)
        crash_text(o, "none: this thread runs no commands\n");
    else if (!find_command(c, &found))
        crash_text(o, "none\n");
    else
        write_arguments(o, &found);
    crash_flush(o);
}

/* --- State --- */

static const char *owner_name(uint32_t owner)
{
    static const char *const names[] = {"awake", "asleep", "borrowed", "borrowed and awaited",
                                        "kept"};
    return owner < sizeof(names) / sizeof(names[0]) ? names[owner] : "?";
}

/* Other cores have been stopped, as far as they could be. */
void crash_write_cores(struct crash_out *o)
{
    crash_text(o, "\n------ CORES ------\n");
    crash_line(o, "order log entries", (int64_t)order_count(server->order));
    for (uint32_t i = 0; i < server->core_count; i++) {
        const struct core *c = server->cores[i];
        crash_text(o, "core ");
        crash_number(o, i);
        crash_text(o, c == core_self() ? " (crashed): " : ": ");
        crash_text(o, owner_name(atomic_load((_Atomic uint32_t *)&c->owner)));
        const struct {
            const char *name;
            uint64_t value;
        } facts[] = {
            {", thread ", (uint64_t)c->thread_id},
            {", order ", order_cursor(server->order, i)},
            {", sessions ", c->session_count},
            {", commands ", c->stats.commands},
            {", iterations ", c->stats.iterations},
            {", gathered ", c->request_count},
            {", hops ", c->hop_count},
            {", dispatched ", c->dispatched},
            {", blocked ", c->blocked_count},
        };
        for (size_t f = 0; f < sizeof(facts) / sizeof(facts[0]); f++) {
            crash_text(o, facts[f].name);
            crash_number(o, (int64_t)facts[f].value);
        }
        crash_text(o, "\n");
    }
    crash_flush(o);
}

static void write_string(struct crash_out *o, const char *name, const char *value)
{
    crash_text(o, name);
    crash_text(o, ": ");
    crash_text(o, value ? value : "");
    crash_text(o, "\n");
}

static void write_memory(struct crash_out *o)
{
    char text[4096];
    crash_read_file("/proc/self/status", text, sizeof(text));
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        if (strncmp(line, "VmPeak", 6) == 0 || strncmp(line, "VmRSS", 5) == 0 ||
            strncmp(line, "VmSwap", 6) == 0 || strncmp(line, "Threads", 7) == 0)
            crash_bytes(o, line, (size_t)(end - line) + 1);
}

void crash_write_server(struct crash_out *o)
{
    const struct config *c = &server->config;
    struct utsname system;
    crash_text(o, "\n------ SERVER ------\n");
    write_string(o, "lasca_version", LASCA_VERSION);
    write_string(o, "redis_version", SERVER_REDIS_VERSION);
    if (uname(&system) == 0) {
        write_string(o, "os", system.release);
        write_string(o, "machine", system.machine);
    }
    write_string(o, "compiler", __VERSION__);
    write_string(o, "run_id", server->run_id);
    write_string(o, "executable", server->executable);
    write_string(o, "config_file", c->config_file);
    write_string(o, "dir", c->dir);
    write_string(o, "io_backend", server->backend == RING_URING ? "io_uring" : "epoll");
    write_string(o, "appendonly", c->appendonly ? "yes" : "no");
    write_string(o, "save", c->save);
    crash_line(o, "uptime_in_seconds", time(NULL) - server->started_ms / 1000);
    crash_line(o, "shards", server->core_count);
    crash_line(o, "port", c->port);
    crash_line(o, "maxmemory", c->maxmemory);
    crash_line(o, "maxclients", c->maxclients);
    crash_line(o, "connected_clients", (int64_t)atomic_load(&server->session_count));
    crash_line(o, "loading", server->keyspace.options.loading);
    crash_text(o, "loaded_at: ");
    crash_hex(o, server->crash->symbols.base, 16);
    crash_text(o, "\n");
    write_memory(o);
}

void crash_write_end(struct crash_out *o)
{
    crash_text(o, "\n=== LASCA BUG REPORT END. Make sure to include from START to END. ===\n\n"
                  "       Please report the crash with this text, what clients did, and the\n"
                  "       core dump's stacks, if there is one: gdb lasca-server core, thread apply "
                  "all bt\n\n");
}
