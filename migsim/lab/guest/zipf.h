/* Zipf's law as 1024 equally likely runs of a class, in integers (the host may not emulate an FPU).
 *
 * With N pages and exponent s, the share of the writes that falls below page x (a real number) is
 *     F(x) = ((1 + x)^(1-s) - 1) / ((1 + N)^(1-s) - 1),      s = 1: ln(1 + x) / ln(1 + N)
 * Bucket b is the run from x(b/1024) to x((b+1)/1024), x the inverse of F, in units of 1/4096 page; inside
 * a bucket the writes are uniform. Also built for the host by the tests.
 */
#ifndef ZIPF_H
#define ZIPF_H
#include <stdint.h>
#include "exp2.h"

#define ZIPF_BUCKETS 1024
typedef unsigned __int128 u128;

/* log2(value / 2^q), 32 fractional bits */
static int64_t log2_fixed(uint64_t value, int q)
{
    int top = 63 - __builtin_clzll(value);
    uint64_t m = value << (63 - top);     /* 1 <= m / 2^63 < 2 */
    uint32_t fraction = 0;
    for (int i = 0; i < 32; i++) {
        m = (uint64_t)((u128)m * m >> 64);
        fraction <<= 1;
        if (m >> 63)
            fraction |= 1;
        else
            m <<= 1;
    }
    return ((int64_t)(top - q) << 32) + fraction;
}

/* 2^(x / 2^32) * 2^q; below 2^64 by the caller's choice of q */
static uint64_t exp2_fixed(int64_t x, int q)
{
    uint32_t fraction = (uint32_t)x;
    uint64_t m = 1ull << 62;
    for (int i = 0; i < 32; i++, fraction <<= 1)
        if (fraction >> 31)
            m = (uint64_t)((u128)m * EXP2_STEPS[i] >> 62);
    int shift = (int)(x >> 32) + q - 62;
    if (shift >= 0)
        return m << shift;
    return shift > -64 ? m >> -shift : 0;
}

/* starts[0..1024): first byte of each bucket; lengths[0..1024): its bytes. 1 <= pages < 2^28. */
static void zipf_buckets(uint64_t pages, int64_t exponent_milli, uint64_t *starts, uint64_t *lengths)
{
    int64_t e = 1000 - exponent_milli;
    int64_t log_all = log2_fixed(pages + 1, 0);
    int64_t log_power = log_all * e / 1000;               /* log2 (1+N)^e */
    int q = e > 0 ? 60 - (int)(log_power >> 32) : 60;
    uint64_t one = 1ull << q;
    uint64_t power = exp2_fixed(log_power, q);
    uint64_t previous = 0;
    for (int b = 1; b <= ZIPF_BUCKETS; b++) {
        int64_t log_y;
        uint64_t byte;
        if (e == 0) {
            log_y = log_all * b / ZIPF_BUCKETS;
        } else if (e > 0) {
            uint64_t a = one + (uint64_t)((u128)(power - one) * (unsigned)b >> 10);
            log_y = log2_fixed(a, q) * 1000 / e;
        } else {
            uint64_t a = one - (uint64_t)((u128)(one - power) * (unsigned)b >> 10);
            log_y = log2_fixed(a, q) * 1000 / e;
        }
        byte = (exp2_fixed(log_y, 34) - (1ull << 34)) >> 22;
        if (b == ZIPF_BUCKETS || byte > pages * 4096)
            byte = pages * 4096;
        if (byte < previous)
            byte = previous;
        starts[b - 1] = previous;
        lengths[b - 1] = byte - previous;
        previous = byte;
    }
}
#endif
