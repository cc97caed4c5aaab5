/* Names for addresses in the program itself, from its symbol table, which has static functions too
 * (backtrace_symbols_fd knows only what the dynamic linker knows). Async-signal-safe: the file is
 * mapped and searched, nothing is allocated. Source: the ELF format, elf(5). */
#pragma once

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

struct crash_symbols {
    uintptr_t base;          /* where the program was loaded */
    uintptr_t end;
    const char *file;        /* mapped; NULL: not to be had */
    size_t file_size;
    const Elf64_Sym *symbols;
    size_t count;
    const char *names;
    size_t names_size;
};

/* Maps the program's file; without one, or with symbols stripped, nothing has a name. */
void crash_symbols_open(struct crash_symbols *s);
/* The function that an address is in, or NULL; *offset is how far in. */
const char *crash_symbols_find(const struct crash_symbols *s, uintptr_t address, size_t *offset);
