/* The crash report: what a server that ends by SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGABRT (failed
 * assertions among these) leaves in its log, between two lines to cut and paste:
 *
 *   === LASCA BUG REPORT START: Cut & paste starting from here ===
 *   version, signal, address, sender | failed assertion
 *   ------ STACK TRACE ------        this thread's, with names from our own symbol table
 *   ------ REGISTERS ------
 *   ------ CURRENT COMMAND ------    what this core was doing; arguments cut, secrets left out
 *   ------ CORES ------              every core: thread, owner, place in the order, counts
 *   ------ STACKS OF OTHER THREADS ------
 *   ------ SERVER ------             configuration, limits, memory
 *   === LASCA BUG REPORT END ...
 *
 * Then the signal's default action follows: a core dump, the exit status that supervisors expect.
 *
 * Written from within the signal's handler, on a stack of its own (a thread may have run out of
 * its own), with nothing that locks or allocates: text is made by hand and written by write(2),
 * what may be damaged is read through process_vm_readv(2). A second fault in the handler ends the
 * process at once, since all these signals are blocked there; one that hangs ends by an alarm.
 * Another thread that crashes meanwhile waits for the end.
 *
 * SIGALRM only writes the stacks of all threads to the log (as Redis's watchdog does): `kill -ALRM`
 * shows what a server that seems to hang is doing. Builds with sanitizers leave all of it to them.
 */
#pragma once

#include <stdbool.h>

struct core;

/* Main thread, once the server is there, before other threads. */
void crash_install(void);
/* Each thread at its begin: a stack for the handler, which the thread gives back. A thread without
 * is served as long as it has not run out of its own. */
void *crash_enter_thread(struct core *c);
void crash_leave_thread(void *stack);
