/* Rules as text, in the form and order of ACL LIST: see user.h. */
#include "server/acl/user.h"

void acl_describe_commands(const struct acl_selector *s, struct buf *to)
{
    buf_append_text(to, s->from_all ? "+@all" : "-@all");
    for (uint32_t i = 0; i < s->rule_count; i++) {
        buf_append_text(to, s->rules[i].allows ? " +" : " -");
        buf_append_slice(to, s->rules[i].text);
    }
}

void acl_describe_keys(const struct acl_selector *s, struct buf *to)
{
    static const char *const marks[] = {
        [ACL_MAY_READ] = "%R~", [ACL_MAY_WRITE] = "%W~", [ACL_MAY_READ | ACL_MAY_WRITE] = "~",
    };
    if (s->all_keys)
        buf_append_text(to, "~*");
    for (uint32_t i = 0; i < s->key_count; i++) {
        buf_append_text(to, i ? " " : "");
        buf_append_text(to, marks[s->keys[i].may]);
        buf_append_slice(to, s->keys[i].text);
    }
}

void acl_describe_channels(const struct acl_selector *s, struct buf *to)
{
    if (s->all_channels)
        buf_append_text(to, "&*");
    for (uint32_t i = 0; i < s->channel_count; i++) {
        buf_append_text(to, i ? " &" : "&");
        buf_append_slice(to, s->channels[i]);
    }
}

static void describe_selector(const struct acl_selector *s, struct buf *to)
{
    size_t before = to->size;
    acl_describe_keys(s, to);
    buf_append_text(to, to->size > before ? " " : "");
    buf_append_text(to, s->all_channels ? "" : "resetchannels ");
    before = to->size;
    acl_describe_channels(s, to);
    buf_append_text(to, to->size > before ? " " : "");
    acl_describe_commands(s, to);
}

void acl_describe_hash(const unsigned char *hash, char to[ACL_HASH_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < ACL_HASH_SIZE; i++) {
        to[i * 2] = digits[hash[i] >> 4];
        to[i * 2 + 1] = digits[hash[i] & 15];
    }
}

void acl_describe(const struct acl_user *u, struct buf *to)
{
    buf_append_text(to, u->enabled ? "on " : "off ");
    buf_append_text(to, u->no_password ? "nopass " : "");
    buf_append_text(to, u->skip_sanitize ? "skip-sanitize-payload " : "sanitize-payload ");
    for (uint32_t i = 0; i < u->hash_count; i++) {
        char text[ACL_HASH_TEXT_SIZE];
        acl_describe_hash(u->hashes[i], text);
        buf_append_text(to, "#");
        buf_append(to, text, sizeof(text));
        buf_append_text(to, " ");
    }
    for (uint32_t i = 0; i < u->selector_count; i++) {
        buf_append_text(to, i ? " (" : "");
        describe_selector(u->selectors[i], to);
        buf_append_text(to, i ? ")" : "");
    }
}
