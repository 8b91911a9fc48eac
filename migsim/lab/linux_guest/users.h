/* What the users of each workload share; the loop is in users.c. */
#ifndef USERS_H
#define USERS_H

#include <libpq-fe.h>
#include <stddef.h>
#include <stdint.h>

struct kind {
    const char *name, *statement;
    int weight; /* percent */
    uint64_t count, latency_us;
};

struct user {
    PGconn *database;
    int fd, asking;
    struct kind *kind;         /* of the question put last */
    uint64_t due_us;           /* when thinking ends, or has ended */
    size_t answer_left;        /* of the store's answer; 0: its first line is not read yet */
};

struct workload {
    const char *name;
    struct kind *kinds;
    int kind_count;
    void (*connect)(struct user *user, int number);
    unsigned long long (*fill)(struct user *user); /* bytes of data, once all are connected */
    void (*ask)(struct user *user);
    void (*hear)(struct user *user);
};

extern struct workload order_entry, store;

double uniform(void);
uint64_t random64(void);
uint64_t argument(const char *name, uint64_t otherwise);
void answered(struct user *user);
_Noreturn void give_up(const char *what, const char *why);

#endif
