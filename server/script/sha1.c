/* SHA1: see sha1.h. */
#include "server/script/sha1.h"

#include <assert.h>
#include <openssl/evp.h>

#include "proto/mem.h"

struct sha1 {
    EVP_MD *algorithm;
    EVP_MD_CTX *context;
};

struct sha1 *sha1_create(void)
{
    struct sha1 *s = mem_alloc(sizeof(*s));
    s->algorithm = EVP_MD_fetch(NULL, "SHA1", NULL);
    s->context = EVP_MD_CTX_new();
    assert(s->algorithm && s->context);
    return s;
}

void sha1_destroy(struct sha1 *s)
{
    EVP_MD_CTX_free(s->context);
    EVP_MD_free(s->algorithm);
    mem_free(s);
}

void sha1_of(struct sha1 *s, struct slice text, unsigned char to[SCRIPT_SHA_SIZE])
{
    unsigned size;
    bool done = EVP_DigestInit_ex2(s->context, s->algorithm, NULL) &&
                EVP_DigestUpdate(s->context, text.data, text.size) &&
                EVP_DigestFinal_ex(s->context, to, &size);
    assert(done && size == SCRIPT_SHA_SIZE);
}
