/* Users of the order-entry database: a question is the call of one function, prepared once a session. */
#include "users.h"

#include <stdio.h>
#include <stdlib.h>

/* The five transactions and how often each is asked for. */
static struct kind kinds[] = {
    {"customer-registration", "SELECT customer_registration()", 10, 0, 0},
    {"browse-products", "SELECT browse_products()", 40, 0, 0},
    {"order-products", "SELECT order_products()", 30, 0, 0},
    {"process-orders", "SELECT process_orders()", 10, 0, 0},
    {"browse-orders", "SELECT browse_orders()", 10, 0, 0},
};

static void must(PGconn *database, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        give_up("PostgreSQL", PQerrorMessage(database));
    PQclear(result);
}

static void connect_database(struct user *user, int number)
{
    int branch = 1 + number % (int)argument("branches", 1);
    char text[128];
    snprintf(text, sizeof text, "host=/run user=postgres dbname=branch%d", branch);
    user->database = PQconnectdb(text);
    if (PQstatus(user->database) != CONNECTION_OK)
        give_up("PostgreSQL", PQerrorMessage(user->database));
    snprintf(text, sizeof text, "SELECT setseed(%.9f)", uniform());
    must(user->database, PQexec(user->database, text));
    for (int kind = 0; kind < order_entry.kind_count; kind++)
        must(user->database, PQprepare(user->database, kinds[kind].name, kinds[kind].statement, 0, NULL));
    /* once each, so that what a session's first calls have to learn is no part of the measured work */
    for (int kind = 0; kind < order_entry.kind_count; kind++)
        must(user->database, PQexecPrepared(user->database, kinds[kind].name, 0, NULL, NULL, NULL, 0));
    PQsetnonblocking(user->database, 1);
    user->fd = PQsocket(user->database);
}

static void ask_database(struct user *user)
{
    if (!PQsendQueryPrepared(user->database, user->kind->name, 0, NULL, NULL, NULL, 0))
        give_up("PostgreSQL", PQerrorMessage(user->database));
    while (PQflush(user->database) > 0)
        ;
}

static void hear_database(struct user *user)
{
    if (!PQconsumeInput(user->database))
        give_up("PostgreSQL", PQerrorMessage(user->database));
    while (!PQisBusy(user->database)) {
        PGresult *result = PQgetResult(user->database);
        if (!result) {
            if (user->asking)
                answered(user);
            return;
        }
        must(user->database, result);
    }
}

static unsigned long long database_bytes(struct user *user)
{
    PGresult *result = PQexec(user->database,
                              "SELECT sum(pg_database_size(oid)) FROM pg_database WHERE datname LIKE 'branch%'");
    unsigned long long bytes = PQresultStatus(result) == PGRES_TUPLES_OK ? strtoull(PQgetvalue(result, 0, 0), 0, 10) : 0;
    PQclear(result);
    return bytes;
}

struct workload order_entry = {
    "order-entry", kinds, (int)(sizeof kinds / sizeof *kinds), connect_database, database_bytes, ask_database, hear_database,
};
