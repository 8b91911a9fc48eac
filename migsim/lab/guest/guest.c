/* migsim's guest: writes pages as its command line says and reports on the serial line. See __init__.py.
 *
 * Virtual addresses are offsets in the machine's RAM (holes of the physical map skipped), so a class is one
 * run of addresses wherever it lies. All state is in RAM and registers; no interrupts.
 */
#include "layout.h"
#include "machine.h"
#include "zipf.h"

struct page_class {                       /* offsets known to writes.S */
    u64 span, base, next, limit, changed, pattern, content, weight;
};

struct page_class classes[MAX_CLASSES];
extern const u64 write_handlers[MAX_CLASSES][3][CONTENTS];
extern void handler_pause(void), handler_work(void);
extern u64 work_iterations;

static struct generator {
    u64 state, multiplier, cursor;
} generator = {.multiplier = 0xAF251AF3B0F025B5};

extern void run_batch(struct generator *);

static u64 class_count, touched, fill_pages, clock_paced, writes_per_s, checking, report_ms = 500, seed = 1;
static u64 damage_page = ~0ull, tsc_khz, ram_bytes;
static u64 batch, schedule_writes, batches_left, batches_per_pass;

static u64 next_random(void)
{
    return generator.state *= generator.multiplier;
}

#include "command_line.h"
#include "memory.h"
#include "check.h"

/* ---- the schedule: every class as often as its weight says, spread evenly, in the same order for ever */

static void build_schedule(void)
{
    u64 total = 0, slots = 0;
    u64 credit[MAX_CLASSES] = {0};
    u64 *code = (u64 *)SCHEDULE_AT;
    for (u64 c = 0; c < class_count; c++)
        total += classes[c].weight;
    if (!total)
        return;
    if (total > 4096)
        fail("weights of the classes sum to more than 4096", "class");
    u64 cycles = 1;                       /* whole cycles of the weights in whole batches */
    while (total <= 128 && cycles * total % 64)
        cycles <<= 1;
    while (cycles * total < 1024)
        cycles <<= 1;
    schedule_writes = cycles * total;
    batch = checking ? 16 : 64;
    if (clock_paced && writes_per_s / 1000 < batch)
        batch = writes_per_s / 1000 ? writes_per_s / 1000 : 1;
    while (schedule_writes % batch)
        batch--;
    for (; slots < schedule_writes; slots++) {
        u64 best = 0;
        int64_t best_credit = INT64_MIN;
        for (u64 c = 0; c < class_count; c++) {
            credit[c] += classes[c].weight;
            if ((int64_t)credit[c] > best_credit && classes[c].weight) {
                best = c;
                best_credit = (int64_t)credit[c];
            }
        }
        credit[best] -= total;
        if (checking) {
            *code++ = best;
            continue;
        }
        *code++ = write_handlers[best][classes[best].pattern][classes[best].content];
        if (work_iterations)
            *code++ = (u64)handler_work;
        if ((slots + 1) % batch == 0)
            *code++ = (u64)handler_pause;
    }
    batches_per_pass = schedule_writes / batch;
    batches_left = batches_per_pass;
    generator.cursor = SCHEDULE_AT;
}

static void run_one_batch(void)
{
    if (!batches_left) {
        batches_left = batches_per_pass;
        generator.cursor = SCHEDULE_AT;
    }
    batches_left--;
    if (checking)
        run_checked_batch();
    else
        run_batch(&generator);
}

static void prepare_classes(void)
{
    u64 *pool = (u64 *)POOL_AT;
    u64 *prefix = (u64 *)PREFIX_AT;
    int pooled = fill_pages;
    for (u64 i = 0; i < class_count; i++) {
        struct page_class *c = &classes[i];
        if (c->content == CONTENT_PAGE)
            pooled = 1;
        if (c->pattern == PATTERN_ZIPF)
            zipf_buckets(c->span / 4096, (int64_t)c->next, (u64 *)(ZIPF_AT + i * ZIPF_CLASS_BYTES),
                         (u64 *)(ZIPF_AT + i * ZIPF_CLASS_BYTES + 8192));
        c->next = c->base;
        c->limit = c->base + c->span;
    }
    if (!pooled)
        return;
    for (u64 i = 0; i < POOL_WORDS + 512; i++)
        pool[i] = next_random() ^ generator.state >> 29;
    prefix[0] = 0;
    if (checking)
        for (u64 i = 0; i < POOL_WORDS + 512; i++)
            prefix[i + 1] = prefix[i] + pool[i];
}

static void touch_pages(void)
{
    u64 *page = (u64 *)WORKLOAD_AT;
    for (u64 i = 0; i < touched; i++, page += 512) {
        u64 s = next_random();
        if (fill_pages) {
            u64 from = pool_start(s);
            copy_words(page, (u64 *)POOL_AT + from, 512);
            if (checking)
                records[i].sum = pool_sum(from);
        }
        page[0] = s;
        if (checking)
            records[i].stamp = s;
    }
}

static void report(u64 elapsed, u64 now, u64 writes)
{
    begin_line("progress");
    put_field("t_us", mul_div(elapsed, 1000, tsc_khz));
    put_field("tsc", now);
    put_field("writes", writes);
    put_field("checked", checked);
    if (checking)
        put_field("failed", failed);
    end_line();
}

_Noreturn static void work_for_ever(u64 started)
{
    u64 writes = 0, reported = 0, last = started;
    u64 report_ticks = tsc_khz * report_ms;
    u64 rate = clock_paced ? mul_div(writes_per_s, 1ull << 63, tsc_khz * 500) : 0;   /* writes a tick, times 2^64 */
    for (;;) {
        u64 now = read_tsc();
        if (__builtin_expect(now < last, 0))
            started -= last - now;        /* another host's counter: time goes on from where it was */
        last = now;
        u64 elapsed = now - started;
        if (batch && (!clock_paced || mul_high(elapsed, rate) >= writes + batch)) {
            run_one_batch();
            writes += batch;
        } else if (checking) {
            check_some();
        } else {
            __asm__ volatile("pause");
        }
        if (__builtin_expect(elapsed - reported >= report_ticks, 0)) {
            report(elapsed, now, writes);
            reported = elapsed;
            stamps_told = words_told = 0;
            if (damage_page != ~0ull) {
                ((u64 *)(WORKLOAD_AT + damage_page * 4096))[256] ^= 0x10;
                damage_page = ~0ull;
            }
        }
    }
}

_Noreturn void guest_main(const struct multiboot_info *info)
{
    u64 booted = read_tsc();
    serial_init();
    begin_line("boot version=1");
    end_line();
    parse_command_line(info);
    find_memory(info);
    if (!tsc_khz)
        tsc_khz = tsc_khz_from_kvm();
    if (!tsc_khz)
        tsc_khz = tsc_khz_from_pit();
    generator.state = seed * 0x9E3779B97F4A7C15 | 1;
    for (int i = 0; i < 8; i++)
        next_random();
    check_extent();
    map_memory();
    clear_firmware();
    if (checking)
        clear_records();
    prepare_classes();
    build_schedule();
    touch_pages();
    u64 now = read_tsc();
    begin_line("ready t_us=0");
    put_field("boot_us", mul_div(now - booted, 1000, tsc_khz));
    put_field("tsc", now);
    put_field("tsc_khz", tsc_khz);
    put_field("ram_bytes", ram_bytes);
    put_field("touched", touched);
    put_field("workload_base", WORKLOAD_AT);
    end_line();
    work_for_ever(now);
}
