/* Sets of libraries: names, collisions, joining. No function is run: a set does not look at
 * them. */
#include "server/script/function.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define ERROR_SIZE 256

static char last_error[ERROR_SIZE];

static void keep_error(struct buf *error)
{
    snprintf(last_error, sizeof(last_error), "%.*s", (int)error->size,
             error->data ? error->data : "");
    buf_deinit(error);
}

/* A library of these functions, which end with NULL; or NULL. */
static struct library *make(const char *code, const char *const *names)
{
    struct buf error;
    buf_init(&error);
    struct library *l = library_create(slice_of(code), 4, &error);
    for (; l && *names; names++) {
        struct function f = {.name = slice_of(*names), .description = SLICE("")};
        if (!library_add(l, &f, &error)) {
            library_destroy(l);
            l = NULL;
        }
    }
    keep_error(&error);
    return l;
}

#define MAKE(code, ...) make(code, (const char *const[]){__VA_ARGS__, NULL})

static void expect_refused(const char *code, const char *error)
{
    cr_assert(!make(code, (const char *const[]){NULL}), "%s", code);
    cr_assert_str_eq(last_error, error);
}

Test(function, reads_the_first_line)
{
    struct library *l = MAKE("#!LUA  NAME=\"a_9\" \nbody", "f");
    cr_assert(slice_equal(l->name, SLICE("a_9")));
    cr_assert_eq(l->line_size, strlen("#!LUA  NAME=\"a_9\" "));
    library_destroy(l);
    expect_refused("", "Missing library metadata");
    expect_refused("#", "Missing library metadata");
    expect_refused("#!", "Invalid library metadata");
    expect_refused("#!lua name=a", "Invalid library metadata");
    expect_refused("#!lua 'name=a\n", "Invalid library metadata");
    expect_refused("#!lua\n", "Library name was not given");
    expect_refused("#!lua a=b\n", "Invalid metadata value given: a=b");
    expect_refused("#!lua name=a name=a\n",
                   "Invalid metadata value, name argument was given multiple times");
    expect_refused("#!js name=a\n", "Engine 'js' not found");
}

Test(function, refuses_names_that_are_none_or_taken)
{
    cr_assert(!MAKE("#!lua name=a\n", "f f"));
    cr_assert_str_eq(last_error, "Library names can only contain letters, numbers, or "
                                 "underscores(_) and must be at least one character long");
    cr_assert(!MAKE("#!lua name=a\n", "f", "g", "f"));
    cr_assert_str_eq(last_error, "Function already exists in the library");
}

Test(function, is_found_in_any_case_and_gone_with_its_library)
{
    struct functions *set = functions_create();
    char code[64], name[16];
    for (int i = 0; i < 200; i++) {
        snprintf(code, sizeof(code), "#!lua name=l%d\n", i * 37 % 200);
        snprintf(name, sizeof(name), "fn_%d", i * 37 % 200);
        functions_link(set, MAKE(code, name, "hidden"));
    }
    cr_assert_eq(set->library_count, 200);
    cr_assert_eq(set->registered_count, 400);
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "FN_%d", i);
        struct function *f = functions_find(set, slice_of(name));
        cr_assert(f, "%s", name);
        snprintf(name, sizeof(name), "l%d", i);
        cr_assert(slice_equal(f->library->name, slice_of(name)));
        cr_assert_eq(functions_find_library(set, slice_of(name)), f->library);
        if (i % 2)
            continue;
        struct library *l = f->library;
        functions_unlink(set, l);
        library_destroy(l);
        cr_assert(!functions_find_library(set, slice_of(name)));
    }
    cr_assert(!functions_find(set, SLICE("fn_4")));
    cr_assert(functions_find(set, SLICE("fn_5")));
    cr_assert(!functions_find_library(set, SLICE("L5")));
    functions_destroy(set);
}

static bool join(struct functions *to, struct functions *from, bool replace)
{
    struct buf error;
    buf_init(&error);
    bool joined = functions_join(to, from, replace, &error);
    keep_error(&error);
    return joined;
}

Test(function, sets_join_whole_or_not_at_all)
{
    struct functions *to = functions_create(), *from = functions_create();
    functions_link(to, MAKE("#!lua name=a\nold", "f", "g"));
    functions_link(to, MAKE("#!lua name=b\n", "h"));
    functions_link(from, MAKE("#!lua name=a\nnew", "g", "i"));
    cr_assert(!join(to, from, false));
    cr_assert_str_eq(last_error, "Library a already exists");
    functions_link(from, MAKE("#!lua name=c\n", "H"));
    cr_assert(!join(to, from, true));
    cr_assert_str_eq(last_error, "Function H already exists");
    cr_assert_eq(to->library_count, 2);
    cr_assert(functions_find(to, SLICE("f")));
    struct library *c = functions_find_library(from, SLICE("c"));
    functions_unlink(from, c);
    library_destroy(c);
    cr_assert(join(to, from, true));
    cr_assert_eq(from->library_count, 0);
    cr_assert_eq(to->library_count, 2);
    cr_assert_eq(to->registered_count, 3);
    cr_assert(!functions_find(to, SLICE("f")));
    cr_assert(slice_equal(functions_find(to, SLICE("g"))->library->code,
                          SLICE("#!lua name=a\nnew")));
    functions_destroy(from);
    functions_destroy(to);
}
