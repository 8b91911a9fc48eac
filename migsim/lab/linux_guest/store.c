/* Users of the store: sessions of text under numbered keys, got and set by RESP over a socket. */
#include "users.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct kind kinds[] = {
    {"get", NULL, 50, 0, 0},
    {"set", NULL, 50, 0, 0},
};

static uint64_t keys;
static char corpus[65536];

static void make_corpus(void)
{
    static const char *const words[] = {"the", "basket", "of", "\"item\":", "a", "user", "visited", "page", "and",
        "seen", "true", "language", "en", "token", "price", "in", "last", "route", "to", "list", "theme", "dark", "is",
        "address", "street", "for", "delivery", "by", "hand", "session", "offer", "green", "city", "number"};
    size_t used = 0, length;
    while (used < sizeof corpus - 16) {
        const char *word = words[(size_t)(uniform() * uniform() * (sizeof words / sizeof *words))];
        length = strlen(word);
        memcpy(corpus + used, word, length);
        used += length;
        corpus[used++] = ' ';
    }
}

/* A fresh value of 1 to 4 KB: a stamp that no other has, then text from anywhere in the corpus. */
static size_t put_set(char *into, uint64_t key)
{
    unsigned length = 1024 + (unsigned)(uniform() * 3072);
    int head = sprintf(into, "*3\r\n$3\r\nSET\r\n$16\r\nsession:%08u\r\n$%u\r\n", (unsigned)key, length);
    memcpy(into + head, corpus + (size_t)(uniform() * (sizeof corpus - 4200)), length);
    snprintf(into + head, 17, "%016llx", (unsigned long long)random64());
    into[head + 16] = ' ';
    memcpy(into + head + length, "\r\n", 2);
    return (size_t)head + length + 2;
}

static void write_all(int fd, const char *text, size_t length)
{
    while (length) {
        ssize_t done = write(fd, text, length);
        if (done < 0)
            give_up("store", strerror(errno));
        text += done;
        length -= (size_t)done;
    }
}

static void connect_store(struct user *user, int number)
{
    (void)number;
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/store.sock"};
    user->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (int tries = 0; connect(user->fd, (struct sockaddr *)&address, sizeof address); tries++) {
        if (tries == 300)
            give_up("store", strerror(errno));
        usleep(100000);
    }
}

/* Sets every key once, 32 commands at a time. */
static void fill_store(int fd)
{
    static char batch[32 * 4400], answers[32 * 5];
    for (uint64_t key = 0; key < keys;) {
        size_t length = 0, wanted = 0;
        for (int i = 0; i < 32 && key < keys; i++, wanted += 5)
            length += put_set(batch + length, key++);
        write_all(fd, batch, length);
        for (size_t got = 0; got < wanted;) {
            ssize_t part = read(fd, answers + got, wanted - got);
            if (part <= 0 || answers[0] != '+')
                give_up("store", answers[0] == '-' ? answers : "it has hung up");
            got += (size_t)part;
        }
    }
}

static unsigned long long fill_and_measure(struct user *user)
{
    static char text[65536];
    int fd = user->fd;
    /* a value takes 2560 bytes on average, its key and the allocator's rounding some 400 more */
    keys = argument("buffers_bytes", 64 << 20) / 2960;
    make_corpus();
    fill_store(fd);
    write_all(fd, "INFO memory\r\n", 13);
    size_t got = 0;
    do {
        ssize_t part = read(fd, text + got, sizeof text - 1 - got);
        if (part <= 0)
            give_up("store", "it has hung up");
        got += (size_t)part;
        text[got] = 0;
    } while (!strstr(text, "\r\n\r\n") && !strstr(text, "lazyfreed_objects:"));
    const char *found = strstr(text, "used_memory:");
    return found ? strtoull(found + 12, NULL, 10) : 0;
}

/* The hottest 1 % of the keys get a third of the requests: share below rank x of n is (x / n)^(1/4). */
static void ask_store(struct user *user)
{
    static char text[4400];
    double u = uniform();
    uint64_t key = (uint64_t)(u * u * u * u * (double)keys) * 2654435761u % keys;
    if (!strcmp(user->kind->name, "set"))
        write_all(user->fd, text, put_set(text, key));
    else
        write_all(user->fd, text,
                  (size_t)sprintf(text, "*2\r\n$3\r\nGET\r\n$16\r\nsession:%08u\r\n", (unsigned)key));
}

static void hear_store(struct user *user)
{
    static char text[8192];
    ssize_t got = read(user->fd, text, sizeof text - 1);
    if (got <= 0 || (!user->answer_left && text[0] == '-'))
        give_up("store", got > 0 ? text : "it has hung up");
    if (!user->answer_left) {
        /* "+OK\r\n" or "$2048\r\n...\r\n"; redis writes the first line in one piece */
        text[got] = 0;
        const char *end = strstr(text, "\r\n");
        if (!end)
            give_up("store", "an answer that is not one");
        user->answer_left = (size_t)(end + 2 - text) + (text[0] == '$' ? strtoull(text + 1, NULL, 10) + 2 : 0);
    }
    user->answer_left -= (size_t)got;
    if (!user->answer_left)
        answered(user);
}

struct workload store = {
    "store", kinds, (int)(sizeof kinds / sizeof *kinds), connect_store, fill_and_measure, ask_store, hear_store,
};
