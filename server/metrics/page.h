/* The page of `/`: made by server/status/embed.py from the files beside it when Lasca is built. */
#pragma once

#include <stddef.h>

extern const unsigned char metrics_page[];
extern const size_t metrics_page_size;
