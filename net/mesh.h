/* The mesh: messages between cores over single-producer single-consumer queues, one an ordered
 * pair.
 *
 * A queue element is a batch: a chain of messages linked through `next`, in the order posted.
 * Messages posted to one core during an iteration are collected privately and handed over together
 * by mesh_flush. A full queue is never waited on: the chain stays in the sender's pending chain
 * for that destination and goes with the next flush. Messages from one core to another arrive in
 * the order posted. The queues are Concurrency Kit's ck_ring (SPSC); where 0.7.1's dequeue lacks
 * the fence that later releases added, mesh.c adds it.
 *
 * Happens-before: everything a core wrote before mesh_flush is seen by the receiver after
 * mesh_receive returned the message. `self` is always the caller's own index. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct mesh;

struct mesh_message {
    struct mesh_message *next;
};

struct mesh *mesh_create(uint32_t core_count);
/* All threads have stopped. Messages still queued are the caller's loss. */
void mesh_destroy(struct mesh *m);

/* Queues a message for `to` (not self). Nothing is visible to it before mesh_flush. */
void mesh_post(struct mesh *m, uint32_t self, uint32_t to, struct mesh_message *message);
/* Hands over what was posted. Calls `handed` for each core that got something. Returns true where
 * a full queue left something behind, so that the caller does not sleep. */
bool mesh_flush(struct mesh *m, uint32_t self, void (*handed)(void *context, uint32_t to),
                void *context);
/* Takes everything that had arrived from all cores when called: one chain, in order for each
 * sender, or NULL. */
struct mesh_message *mesh_receive(struct mesh *m, uint32_t self);
/* How many chains wait for `self`: a figure to look at, which may be wrong the next moment. */
uint64_t mesh_depth(const struct mesh *m, uint32_t self);
/* True where mesh_receive would return something: the last look before sleeping. */
bool mesh_has_messages(const struct mesh *m, uint32_t self);
