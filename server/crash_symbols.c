/* Names for addresses: see crash_symbols.h. */
#include "server/crash_symbols.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Made by the linker: the program's first byte and its last in memory. */
extern const char __executable_start[], end[];

static const char *map_file(const char *path, size_t *size)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    void *at = MAP_FAILED;
    if (fstat(fd, &st) == 0 && st.st_size > 0)
        at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    *size = (size_t)st.st_size;
    return at == MAP_FAILED ? NULL : at;
}

static bool is_within(const struct crash_symbols *s, uint64_t offset, uint64_t size)
{
    return offset <= s->file_size && size <= s->file_size - offset;
}

/* The file is what the kernel runs, but may be another by now: nothing in it is trusted. */
static bool find_table(struct crash_symbols *s)
{
    const Elf64_Ehdr *head = (const void *)s->file;
    if (s->file_size < sizeof(*head) || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 ||
        head->e_ident[EI_CLASS] != ELFCLASS64 || head->e_shentsize != sizeof(Elf64_Shdr) ||
        !is_within(s, head->e_shoff, (uint64_t)head->e_shnum * sizeof(Elf64_Shdr)))
        return false;
    const Elf64_Shdr *sections = (const void *)(s->file + head->e_shoff);
    for (unsigned i = 0; i < head->e_shnum; i++) {
        const Elf64_Shdr *table = &sections[i];
        if (table->sh_type != SHT_SYMTAB || table->sh_link >= head->e_shnum ||
            !is_within(s, table->sh_offset, table->sh_size))
            continue;
        const Elf64_Shdr *names = &sections[table->sh_link];
        if (!names->sh_size || !is_within(s, names->sh_offset, names->sh_size) ||
            s->file[names->sh_offset + names->sh_size - 1])
            continue;
        s->symbols = (const void *)(s->file + table->sh_offset);
        s->count = table->sh_size / sizeof(Elf64_Sym);
        s->names = s->file + names->sh_offset;
        s->names_size = names->sh_size;
        return true;
    }
    return false;
}

void crash_symbols_open(struct crash_symbols *s)
{
    *s = (struct crash_symbols){.base = (uintptr_t)__executable_start, .end = (uintptr_t)end};
    s->file = map_file("/proc/self/exe", &s->file_size);
    if (s->file && !find_table(s))
        s->count = 0;
}

const char *crash_symbols_find(const struct crash_symbols *s, uintptr_t address, size_t *offset)
{
    if (address < s->base || address >= s->end)
        return NULL;
    /* A program at a fixed place has its symbols there; ours moves, and counts from its base. */
    const Elf64_Ehdr *head = (const void *)s->file;
    for (size_t i = 0; i < s->count; i++) {
        const Elf64_Sym *symbol = &s->symbols[i];
        uintptr_t start = symbol->st_value + (head->e_type == ET_DYN ? s->base : 0);
        if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || address < start ||
            address - start >= symbol->st_size || symbol->st_name >= s->names_size)
            continue;
        *offset = address - start;
        return s->names + symbol->st_name;
    }
    return NULL;
}
