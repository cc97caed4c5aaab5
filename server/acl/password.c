/* Passwords: SHA-256, as Redis keeps them, so that ACL files can move both ways.
 *
 * Nobody shall learn from the time of an answer whether a user exists, how many passwords it has or
 * how much of a hash is right. So every attempt hashes once and compares equally often, all bytes
 * of each, whatever is known by then. */
#include <assert.h>
#include <openssl/evp.h>

#include "server/acl/user.h"

void acl_hash(struct slice password, unsigned char to[ACL_HASH_SIZE])
{
    unsigned size = 0;
    int done = EVP_Digest(password.data ? password.data : "", password.size, to, &size,
                          EVP_sha256(), NULL);
    assert(done && size == ACL_HASH_SIZE);
}

static unsigned differs(const unsigned char *a, const unsigned char *b)
{
    unsigned bits = 0;
    for (size_t i = 0; i < ACL_HASH_SIZE; i++)
        bits |= (unsigned)(a[i] ^ b[i]);
    return bits;
}

bool acl_user_has_password(const struct acl_user *u, struct slice password, uint32_t rounds)
{
    static const unsigned char nobody[ACL_HASH_SIZE];
    unsigned char hash[ACL_HASH_SIZE];
    acl_hash(password, hash);
    uint32_t count = u ? u->hash_count : 0;
    unsigned found = 0;
    for (uint32_t i = 0; i < rounds || i < count; i++) {
        const unsigned char *known = i < count ? u->hashes[i] : nobody;
        found |= (unsigned)(differs(hash, known) == 0) & (unsigned)(i < count);
    }
    return found != 0;
}
