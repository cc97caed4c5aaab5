/* Glob matching with one point to return to.
 *
 * When text fails to match after a '*', only the latest star needs to swallow one byte more: giving
 * an earlier star more could only make the rest begin later, where the latest star's search has
 * been already. So there is no recursion, and the time is at most pattern size x text size. */
#include "proto/glob.h"

#include <stdint.h>

/* Runs of stars before the last element of a pattern. With more of them nothing matches, in Redis,
 * which recurses at each, and so here. */
#define STAR_RUNS_MAX 1000

static inline unsigned char folded(char c, bool ignore_case)
{
    unsigned char u = (unsigned char)c;
    return ignore_case && u >= 'A' && u <= 'Z' ? u + ('a' - 'A') : u;
}

static bool range_contains(char from, char to, char c, bool ignore_case)
{
    unsigned char low = (unsigned char)from, high = (unsigned char)to;
    if (low > high) {
        unsigned char swapped = low;
        low = high;
        high = swapped;
    }
    unsigned char u = folded(c, ignore_case);
    return u >= folded((char)low, ignore_case) && u <= folded((char)high, ignore_case);
}

/* Matches c against the class whose '[' is just before `at`; moves `at` behind the class. As in
 * Redis: a class that is never closed ends with the pattern, a range may end in ']', its ends may
 * be in either order, and an escaped character is compared with its case. */
static bool class_matches(const char **at, const char *end, char c, bool ignore_case)
{
    const char *p = *at;
    bool found = false;
    bool inverted = p < end && *p == '^';
    if (inverted)
        p++;
    while (p < end && *p != ']') {
        if (*p == '\\' && end - p >= 2) {
            found |= p[1] == c;
            p += 2;
        } else if (end - p >= 3 && p[1] == '-') {
            found |= range_contains(p[0], p[2], c, ignore_case);
            p += 3;
        } else {
            found |= folded(*p, ignore_case) == folded(c, ignore_case);
            p++;
        }
    }
    *at = p < end ? p + 1 : end;
    return found != inverted;
}

/* Matches c against the one element at `at` (not a star) and moves `at` behind it. */
static bool element_matches(const char **at, const char *end, char c, bool ignore_case)
{
    char element = *(*at)++;
    if (element == '?')
        return true;
    if (element == '[')
        return class_matches(at, end, c, ignore_case);
    if (element == '\\' && *at < end)
        element = *(*at)++;
    return folded(element, ignore_case) == folded(c, ignore_case);
}

bool glob_match(struct slice pattern, struct slice text, bool ignore_case)
{
    const char *p = pattern.data, *pattern_end = pattern.data + pattern.size;
    const char *t = text.data, *text_end = text.data + text.size;
    const char *after_star = NULL, *star_text = NULL;
    uint32_t star_runs = 0;
    if (text.size == 0)
        return pattern.size == 0; /* as in Redis, where not even a star matches nothing at all */
    while (t < text_end) {
        if (p < pattern_end && *p == '*') {
            while (p < pattern_end && *p == '*')
                p++;
            if (p == pattern_end)
                return true;
            if (++star_runs > STAR_RUNS_MAX)
                return false;
            after_star = p;
            star_text = t;
        } else if (p < pattern_end && element_matches(&p, pattern_end, *t, ignore_case)) {
            t++;
        } else if (after_star) {
            p = after_star;
            t = ++star_text;
        } else {
            return false;
        }
    }
    while (p < pattern_end && *p == '*')
        p++;
    return p == pattern_end;
}
