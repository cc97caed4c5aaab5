/* Options on who may do what: passwords, users, dangerous commands. */
#include "server/config_rows.h"

static const struct option_name debug_access[] = {
    {"no", DEBUG_NO}, {"yes", DEBUG_YES}, {"local", DEBUG_LOCAL}, {NULL, 0},
};

static const struct option_name channels_first[] = {
    {"allchannels", ACL_CHANNELS_ALL}, {"resetchannels", ACL_CHANNELS_NONE}, {NULL, 0},
};

static const struct config_option options[] = {
    {"requirepass", BYTES_FIELD(requirepass), "\"\"",
     .flags = OPTION_MUTABLE | OPTION_SECRET,
     .section = "Access",
     .text = "The password that clients give with AUTH or HELLO. \"\": none is asked. The "
             "server is fast, and so is guessing: take a long one."},
    {"aclfile", STRING_FIELD(aclfile), "\"\"",
     .text = "The file with the users, one a line as ACL LIST shows them. Users stand there or, "
             "with lines that begin with `user`, in this file, not in both. \"\": none."},
    {"acl-pubsub-default", ENUM_FIELD(acl_pubsub_default), "resetchannels",
     .names = channels_first, .flags = OPTION_MUTABLE,
     .text = "Which channels a new user may use before any rule says so."},
    {"acllog-max-len", INTEGER_FIELD(acllog_max_len), "128", 0, INT64_MAX, .flags = OPTION_MUTABLE,
     .text = "How many refusals ACL LOG remembers."},
    {"enable-debug-command", ENUM_FIELD(enable_debug_command), "no", .names = debug_access,
     .text = "Whether DEBUG may be used: by nobody, by everyone, or from this host only "
             "(local). It can stop the server."},
    {"enable-protected-configs", ENUM_FIELD(enable_protected_configs), "no",
     .names = debug_access,
     .text = "Whether CONFIG SET may change dir and dbfilename, which say where the server writes: "
             "as above."},
    {"enable-module-command", ENUM_FIELD(enable_module_command), "no", .names = debug_access,
     .text = "Whether MODULE may be used, as above. There are no modules."},
};

const struct config_rows config_rows_access = CONFIG_ROWS(options);
