/* Tests of glob patterns: Redis's rules case by case, and random ones against a plain recursion. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "proto/glob.h"

static bool matches(const char *pattern, const char *text)
{
    return glob_match(slice_of(pattern), slice_of(text), false);
}

static bool matches_any_case(const char *pattern, const char *text)
{
    return glob_match(slice_of(pattern), slice_of(text), true);
}

Test(glob, plain_text_matches_itself_alone)
{
    cr_assert(matches("abc", "abc"));
    cr_assert_not(matches("abc", "ab"));
    cr_assert_not(matches("abc", "abcd"));
    cr_assert_not(matches("abc", "abd"));
    cr_assert(matches("", ""));
    cr_assert_not(matches("", "a"));
    cr_assert_not(matches("a", ""));
}

Test(glob, a_star_matches_any_run)
{
    cr_assert(matches("*", "anything"));
    cr_assert(matches("***", "anything"));
    cr_assert(matches("h*llo", "hllo"));
    cr_assert(matches("h*llo", "heeeello"));
    cr_assert_not(matches("h*llo", "heeeell"));
    cr_assert(matches("*:*", "user:7"));
    cr_assert_not(matches("*:*", "user7"));
    cr_assert(matches("a*b*c", "a-b-b-c-c"));
    cr_assert(matches("a*", "a"));
    cr_assert_not(matches("*", "")); /* Redis's own exception */
}

Test(glob, an_empty_text_is_matched_by_an_empty_pattern_alone)
{
    cr_assert(matches("", ""));
    cr_assert_not(matches("*", ""));
    cr_assert_not(matches("**", ""));
}

/* As many repetitions of "*a", and what is behind them. */
static bool stars_match(int count, const char *rest)
{
    static char pattern[4096], text[2048];
    size_t size = 0;
    for (int i = 0; i < count; i++, size += 2)
        memcpy(pattern + size, "*a", 2);
    strcpy(pattern + size, rest);
    memset(text, 'a', sizeof(text) - 1);
    return matches(pattern, text);
}

Test(glob, more_than_a_thousand_stars_match_nothing)
{
    cr_assert(stars_match(1000, ""));
    cr_assert_not(stars_match(1001, ""));
    cr_assert(stars_match(1000, "*"), "a star at the end does not count");
    cr_assert(stars_match(999, "***a"), "stars in a row count as one");
    cr_assert_not(stars_match(1000, "**a"));
}

Test(glob, a_question_mark_matches_one_byte)
{
    cr_assert(matches("h?llo", "hello"));
    cr_assert_not(matches("h?llo", "hllo"));
    cr_assert_not(matches("?", ""));
    cr_assert(matches("*?", "a"));
    cr_assert_not(matches("*?", ""));
}

Test(glob, a_class_matches_one_of_its_bytes)
{
    cr_assert(matches("h[ae]llo", "hello"));
    cr_assert(matches("h[ae]llo", "hallo"));
    cr_assert_not(matches("h[ae]llo", "hillo"));
    cr_assert_not(matches("h[^e]llo", "hello"));
    cr_assert(matches("h[^e]llo", "hallo"));
    cr_assert(matches("h[a-c]llo", "hbllo"));
    cr_assert_not(matches("h[a-c]llo", "hdllo"));
    cr_assert(matches("h[c-a]llo", "hbllo"));
    cr_assert(matches("[0-9a-f]", "e"));
    cr_assert_not(matches("[0-9a-f]", "g"));
    cr_assert_not(matches("[]", "a"));
    cr_assert(matches("[^]", "a"));
    cr_assert(matches("[^a]", "^"));
    cr_assert(matches("[a^]", "^"));
}

Test(glob, a_class_may_escape_its_bytes)
{
    cr_assert(matches("[\\]]", "]"));
    cr_assert(matches("[\\-x]", "-"));
    cr_assert(matches("[\\^a]", "^"));
    cr_assert_not(matches("[\\]]", "\\"));
}

Test(glob, a_class_that_is_never_closed_ends_with_the_pattern)
{
    cr_assert(matches("[abc", "b"));
    cr_assert_not(matches("[abc", "d"));
    cr_assert_not(matches("[", "a"));
    cr_assert(matches("[^", "a"));
    cr_assert(matches("[a-", "-"));
    cr_assert(matches("[\\", "\\"));
    cr_assert(matches("[a-]", "^"), "a range may end in the bracket");
}

Test(glob, a_backslash_takes_the_next_byte_as_it_is)
{
    cr_assert(matches("\\*", "*"));
    cr_assert_not(matches("\\*", "a"));
    cr_assert(matches("a\\?", "a?"));
    cr_assert(matches("\\[a]", "[a]"));
    cr_assert(matches("\\\\", "\\"));
    cr_assert(matches("a\\", "a\\"), "at the end it stands for itself");
}

Test(glob, ignores_case_where_told_to)
{
    cr_assert_not(matches("MaxMemory", "maxmemory"));
    cr_assert(matches_any_case("MaxMemory", "maxmemory"));
    cr_assert(matches_any_case("max*", "MAXMEMORY"));
    cr_assert(matches_any_case("[A-C]x", "bX"));
    cr_assert(matches_any_case("[XYZ]", "y"));
    cr_assert_not(matches_any_case("[a]", "b"));
}

Test(glob, is_binary_safe)
{
    cr_assert(glob_match(SLICE("a\0*"), SLICE("a\0b"), false));
    cr_assert_not(glob_match(SLICE("a\0c"), SLICE("a\0b"), false));
    cr_assert(glob_match(SLICE("[\x80-\xff]"), SLICE("\xc3"), false));
    cr_assert_not(glob_match(SLICE("[\x80-\xff]"), SLICE("a"), false));
}

Test(glob, many_stars_cost_no_exponential_time, .timeout = 5)
{
    static char text[50000];
    memset(text, 'a', sizeof(text));
    struct slice pattern = SLICE("a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b");
    cr_assert_not(glob_match(pattern, (struct slice){text, sizeof(text)}, false));
}

/* The definition, without classes, as a recursion that tries everything. */
static bool model_matches(const char *pattern, const char *text)
{
    if (*pattern == '\0')
        return *text == '\0';
    if (*pattern == '*')
        return model_matches(pattern + 1, text) || (*text && model_matches(pattern, text + 1));
    return *text && (*pattern == '?' || *pattern == *text) && model_matches(pattern + 1, text + 1);
}

Test(glob, agrees_with_a_recursion_on_random_patterns)
{
    srand(7);
    unsigned matched = 0;
    for (int round = 0; round < 200000; round++) {
        char pattern[9] = {0}, text[9] = {0};
        int pattern_size = rand() % 9, text_size = rand() % 9;
        for (int i = 0; i < pattern_size; i++)
            pattern[i] = "ab*?"[rand() % 4];
        for (int i = 0; i < text_size; i++)
            text[i] = "ab"[rand() % 2];
        bool expected = text_size ? model_matches(pattern, text) : pattern_size == 0;
        matched += expected;
        cr_assert_eq(matches(pattern, text), expected, "%s against %s", pattern, text);
    }
    cr_assert_gt(matched, 1000);
}

Test(glob, survives_random_bytes)
{
    srand(8);
    for (int round = 0; round < 100000; round++) {
        size_t pattern_size = (size_t)rand() % 12, text_size = (size_t)rand() % 12;
        char pattern[12], text[12];
        for (size_t i = 0; i < pattern_size; i++)
            pattern[i] = "[]^-\\*?a"[rand() % 8];
        for (size_t i = 0; i < text_size; i++)
            text[i] = (char)rand();
        /* Against the array's end, so that a sanitizer sees a read beyond the pattern. */
        struct slice p = {pattern + sizeof(pattern) - pattern_size, pattern_size};
        memmove(pattern + sizeof(pattern) - pattern_size, pattern, pattern_size);
        bool found = glob_match(p, (struct slice){text, text_size}, rand() & 1);
        cr_assert(!found || pattern_size > 0 || text_size == 0);
    }
}
