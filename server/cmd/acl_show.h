/* The subcommands of ACL that show what there is. */
#pragma once

struct call;

/* The error of a subcommand that has more arguments than it takes. */
void acl_reply_too_many(struct call *c);

void acl_cat(struct call *c);
void acl_getuser(struct call *c);
void acl_list(struct call *c);
void acl_users(struct call *c);
