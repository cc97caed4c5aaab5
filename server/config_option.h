/* What config's own files share: the option row, its value, its faults, a line's words. Others
 * include config.h.
 *
 *   config_options.c  the table of rows: find, nearest name; config_rows_*.c: parts of it
 *   config_value.c    a row's field in struct config: set from words, print, copy, free
 *   config_list.c     values of several words that are strings here
 *   config_fault.c    what is wrong with a value, worded for an operator and for a client
 *   config_words.c    a line split into words, quotes and escapes undone
 *   config_file.c     files, includes, the command line
 *   config_rewrite.c  CONFIG REWRITE
 *   config.c          config.h's other functions
 *
 * A default is kept as the text that would stand in the file, and is parsed like one: there is no
 * second notation that could disagree with the documented file. */
#pragma once

#include "server/config.h"

enum option_type {
    OPTION_BOOL,          /* bool */
    OPTION_INTEGER,       /* int64_t, min to max */
    OPTION_MEMORY,        /* int64_t bytes, min to max, written with units */
    OPTION_ENUM,          /* int, one of names */
    OPTION_STRING,        /* char *, owned; with OPTION_MANY the words joined by blanks */
    OPTION_BYTES,         /* struct config_bytes, owned */
    OPTION_BIND,          /* bind and bind_count */
    OPTION_OUTPUT_LIMITS, /* output_limits */
    OPTION_SAVE,          /* char *, owned: pairs of numbers, joined by blanks */
    OPTION_OCTAL,         /* int64_t, written in octal */
    OPTION_MEMORY_SHARE,  /* int64_t bytes; `75%`: of the machine's memory or the cgroup's limit */
    OPTION_MEMORY_PERCENT, /* int64_t bytes, or below 0 percent of maxmemory; printed as `5%` */
    OPTION_NOTIFY,        /* int, the classes of notify-keyspace-events, a letter each */
};

enum option_flags {
    OPTION_MUTABLE = 1 << 0,   /* CONFIG SET may change it */
    OPTION_PROTECTED = 1 << 1, /* ... but only as enable-protected-configs says */
    OPTION_MANY = 1 << 2,      /* takes several words */
    OPTION_NO_WORDS = 1 << 3,  /* a bare name means the empty value */
    OPTION_ALIAS = 1 << 5,     /* an older name of the row before it */
    OPTION_DIRECTORY = 1 << 4, /* the process moves there when a file or the command line says so */
    OPTION_FILE_NAME = 1 << 6, /* no path */
    OPTION_DIRECTORY_NAME = 1 << 7, /* likewise */
    OPTION_NOT_EMPTY = 1 << 8,
    OPTION_PERCENTILES = 1 << 10, /* numbers from 0 to 100 */
    OPTION_HIDDEN = 1 << 9,    /* for tests: only who knows its name is told of it */
    OPTION_NOT_LOADING = 1 << 11, /* CONFIG SET waits until the data is loaded */
    OPTION_ADDRESSES = 1 << 12,   /* its words could be addresses */
    OPTION_NO_ONE = 1 << 13,      /* "no one" is the empty value */
    OPTION_ONLY_SET = 1 << 14,    /* `only` holds for CONFIG SET alone */
    OPTION_SAME = 1 << 16,        /* not OPTION_MUTABLE, and Lasca's own: CONFIG SET may name it
                                   * with the value it has, so that what CONFIG GET says can be
                                   * set */
    OPTION_SECRET = 1 << 15,      /* what it is set to is not shown to others */
    OPTION_HZ = 1 << 17,          /* from 1 to 500: what is beyond becomes the bound, as in Redis */
};

struct option_name {
    const char *name;
    int value;
};

struct config_option {
    const char *name;
    enum option_type type;
    size_t offset;                   /* of the field in struct config */
    const char *initial;             /* the default, in the file's notation */
    int64_t min;
    int64_t max;
    const struct option_name *names; /* ends with a NULL name. Of a string: what its words may be */
    unsigned flags;
    const char *only;                /* the one printed value accepted so far, or NULL */
    const char *only_reason;
    const char *inert;               /* why it has no effect here, or NULL */
    const char *(*check)(const char *value); /* of a string set: what is wrong with it, or NULL */
    const char *section;             /* of conf/lasca.conf, where this row begins one */
    const char *text;                /* its paragraph there; '\n' begins another */
};

enum fault_kind {
    FAULT_NONE,
    FAULT_COUNT,       /* not one word */
    FAULT_ZERO_BYTE,   /* most fields are C strings */
    FAULT_BOOL,
    FAULT_INTEGER,
    FAULT_MEMORY,
    FAULT_RANGE,
    FAULT_ENUM,
    FAULT_BIND_COUNT,
    FAULT_BIND_ADDRESS, /* could not be one, nor be read back from CONFIG GET's list */
    FAULT_LIMIT_COUNT, /* of client-output-buffer-limit: not groups of four */
    FAULT_LIMIT_CLASS,
    FAULT_LIMIT_VALUE,
    FAULT_NOTIFY,      /* a letter that is no class */
    FAULT_PATH,        /* a path, where a name is wanted */
    FAULT_EMPTY,
    FAULT_SAVE,        /* not pairs of seconds and changes */
    FAULT_OCTAL,
    FAULT_PERCENT,     /* neither a size nor a percentage */
    FAULT_PERCENT_RANGE,
    FAULT_TEXT,        /* what `why` says */
    FAULT_ONLY,        /* well-formed, but this version lacks what it asks for */
};

struct config_fault {
    enum fault_kind kind;
    struct slice value; /* the word at fault: borrowed from the words, or from the field set */
    uint32_t count;     /* words given */
    const char *why;    /* FAULT_TEXT: in Redis's words; constant */
};

/* Rows 0 to count - 1, in the documented file's order. */
uint32_t config_option_count(void);
const struct config_option *config_option_at(uint32_t i);
/* Any case. NULL when unknown. */
const struct config_option *config_option_find(struct slice name);
/* The row whose name is fewest edits away, or NULL when none is near enough to be meant. */
const struct config_option *config_option_nearest(struct slice name);

/* Sets the field from words. On a fault the field may have been changed: discard the config. */
struct config_fault config_value_set(const struct config_option *o, struct config *c,
                                     const struct slice *words, uint32_t count);
/* The text that words of a string option with OPTION_MANY amount to, normalised. */
struct config_fault config_list_join(const struct config_option *o, const struct slice *words,
                                     uint32_t count, struct buf *to);
/* The first row of those that are names of one and the same option. */
const struct config_option *config_option_proper(const struct config_option *o);
/* True where the value is printed so. */
bool config_value_is(const struct config_option *o, const struct config *c, struct slice printed);
/* True where both print the same. */
bool config_value_equal(const struct config_option *o, const struct config *a,
                        const struct config *b);
/* Whether an address it is only the kernel can say. What no address or name has is refused, so that
 * a list of them, printed with blanks between, reads back as it was. */
bool config_may_be_address(struct slice word);
/* Appends the value as CONFIG GET prints it. */
void config_value_print(const struct config_option *o, const struct config *c, struct buf *to);
/* Replaces a field that shares memory with another config's by a copy of its own. */
void config_value_unshare(const struct config_option *o, struct config *c);
void config_value_free(const struct config_option *o, struct config *c);
/* The same two for what lines that are no options left: users, renames. */
void config_lines_unshare(struct config *c);
void config_lines_free(struct config *c);
/* A C string of these bytes, to be freed with mem_free. */
char *config_string_copy(struct slice s);

/* For an operator. `dashes` is "--" or "": how the option's name was written. */
void config_fault_explain(const struct config_option *o, const struct config_fault *fault,
                          const char *dashes, struct buf *to);
/* For CONFIG SET's client, in Redis's words where Redis has the fault. */
void config_fault_reply(const struct config_option *o, const struct config_fault *fault,
                        struct buf *to);

struct config_words {
    struct slice *items;
    uint32_t count;
    uint32_t cap;
    char *bytes; /* what the items point into */
};

/* False on unbalanced quotes; there is nothing to deinit then. */
bool config_words_split(struct config_words *w, struct slice line);
void config_words_deinit(struct config_words *w);
/* Appends a blank and the word, in quotes and escaped where it needs them to be read back. */
void config_append_word(struct buf *to, struct slice word);
/* ... in quotes in any case. */
void config_append_quoted(struct buf *to, struct slice word);
/* True for include, user and the like: lines that are no options, and that CONFIG REWRITE knows. */
bool config_is_directive(struct slice name);

/* Moves the text to `error`, cut to fit, control characters masked, and frees `text`. */
void config_error_take(struct buf *text, char *error, size_t error_size);
