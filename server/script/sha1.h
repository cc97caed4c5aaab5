/* SHA1, by which scripts are named: OpenSSL's, through a context that is made once. To look the
 * algorithm up anew costs more than to hash a script. */
#pragma once

#include "server/script/store.h"

struct sha1;

struct sha1 *sha1_create(void);
void sha1_destroy(struct sha1 *s);
void sha1_of(struct sha1 *s, struct slice text, unsigned char to[SCRIPT_SHA_SIZE]);
