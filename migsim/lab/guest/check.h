/* check=1: what every page must hold, kept apart from the pages, and compared for ever.
 *
 * A record per page: the page's first word, fresh and random at every write (0: a page of zeros), and the
 * sum of its other words. Comparing first words finds a page that was lost or is an older version; comparing
 * sums finds a page that was damaged elsewhere.
 */
#ifndef CHECK_H
#define CHECK_H

#define DEEP_EVERY 32                     /* writes to one page whose every word is read */
#define STAMPS_PER_WRITE 4
#define FAILURES_SHOWN 20
#define FIRMWARE_BYTES 0x1200000          /* below 4 GiB the last MiBs were its workspace */

struct record {
    u64 stamp, sum;
};

static struct record *records;
static u64 record_count, checked, failed, stamp_cursor, stamp_passes, stamp_failed, word_cursor, word_passes, word_failed;
static u64 schedule_index, since_deep, stamps_told, words_told;

static u64 pool_start(u64 s)
{
    return s >> 27 & (POOL_WORDS - 1);
}

static u64 pool_sum(u64 from)             /* of words 1..511 of a copy */
{
    const u64 *prefix = (const u64 *)PREFIX_AT;
    return prefix[from + 512] - prefix[from + 1];
}

/* All classes and touched pages lie in RAM; the records take RAM's end. */
static void check_extent(void)
{
    u64 end = WORKLOAD_AT + touched * 4096;
    for (u64 i = 0; i < class_count; i++)
        if (classes[i].base + classes[i].span > end)
            end = classes[i].base + classes[i].span;
    record_count = (end - WORKLOAD_AT) / 4096;
    u64 room = ram_bytes;
    if (checking) {
        u64 bytes = (record_count * sizeof(struct record) + 4095) & ~4095ull;
        room = ram_bytes > bytes ? (ram_bytes & ~4095ull) - bytes : 0;
        records = (struct record *)room;
    }
    if (end > room) {
        begin_line("error pages beyond RAM:");
        put_field("needed_bytes", end + (ram_bytes - room));
        put_field("ram_bytes", ram_bytes);
        end_line();
        halt();
    }
    if (damage_page != ~0ull && damage_page >= record_count)
        fail("damage is outside the pages", "damage=");
}

/* Records begin as those of zero pages. So do pages that are not touched, but where the firmware has worked. */
static void clear_records(void)
{
    u64 firmware = low_bytes > FIRMWARE_BYTES + WORKLOAD_AT ? (low_bytes - FIRMWARE_BYTES - WORKLOAD_AT) / 4096 : 0;
    u64 past = (low_bytes - WORKLOAD_AT) / 4096;
    fill_words((u64 *)records, 0, record_count * 2);
    for (u64 i = touched > firmware ? touched : firmware; i < record_count && i < past; i++)
        fill_words((u64 *)(WORKLOAD_AT + i * 4096), 0, 512);
}

static void mismatch(u64 page, u64 expected, u64 got)
{
    checked++;
    if (failed++ >= FAILURES_SHOWN)
        return;
    begin_line("check FAILED");
    put_field("page", page);
    put_hex("expected", expected);
    put_hex("got", got);
    end_line();
}

static void pass_done(const char *kind, u64 passes, u64 failed_before, u64 *told)
{
    if (failed != failed_before || *told)
        return;
    *told = 1;                            /* once between two reports */
    begin_line("check ok");
    put(kind);
    put_field("passes", passes);
    put_field("pages", record_count);
    end_line();
}

static void check_stamps(u64 count)
{
    while (count--) {
        u64 got = *(u64 *)(WORKLOAD_AT + stamp_cursor * 4096);
        if (got != records[stamp_cursor].stamp)
            mismatch(stamp_cursor, records[stamp_cursor].stamp, got);
        checked++;
        if (++stamp_cursor == record_count) {
            stamp_cursor = 0;
            pass_done(" kind=stamps", ++stamp_passes, stamp_failed, &stamps_told);
            stamp_failed = failed;
        }
    }
}

static void check_words(void)
{
    const u64 *word = (const u64 *)(WORKLOAD_AT + word_cursor * 4096);
    u64 sum = -word[0];
    for (const u64 *end = word + 512; word != end; word += 8)
        sum += word[0] + word[1] + word[2] + word[3] + word[4] + word[5] + word[6] + word[7];
    if (sum != records[word_cursor].sum)
        mismatch(word_cursor, records[word_cursor].sum, sum);
    checked++;
    if (++word_cursor == record_count) {
        word_cursor = 0;
        pass_done(" kind=words", ++word_passes, word_failed, &words_told);
        word_failed = failed;
    }
}

static void check_some(void)
{
    if (!record_count)
        return;
    check_stamps(STAMPS_PER_WRITE * 16);
    since_deep += 16;
    if (since_deep >= DEEP_EVERY) {
        since_deep = 0;
        check_words();
    }
}

/* ---- writes that are recorded: the same classes in the same order, plus a fresh first word each */

static u64 write_place(u64 index, struct page_class *c)
{
    u64 s = next_random();
    if (c->pattern == PATTERN_SWEEP) {
        u64 at = c->next;
        c->next = at + 4096;
        if (c->next >= c->limit)
            c->next = c->base + ((c->next + 8) & 0xFF8);
        return at;
    }
    if (c->pattern == PATTERN_RANDOM)
        return c->base + mul_high(s, c->span);
    const u64 *starts = (const u64 *)(ZIPF_AT + index * ZIPF_CLASS_BYTES);
    u64 bucket = s >> 54;
    return c->base + starts[bucket] + mul_high(s << 10, starts[ZIPF_BUCKETS + bucket]);
}

static void change_bytes(u64 at, u64 count, struct record *record)
{
    u64 offset = at & 4088;
    if (offset < 8)
        offset = 8;
    if (offset + count > 4096)
        offset = (4096 - count) & ~7ull;
    u64 *word = (u64 *)((at & ~4095ull) + offset);
    for (; count; word++) {
        u64 mask = count < 8 ? (1ull << count * 8) - 1 : ~0ull;
        u64 old = *word;
        u64 fresh = (old & ~mask) | (generator.state & mask);
        *word = fresh;
        record->sum += fresh - old;
        count -= count < 8 ? count : 8;
    }
}

static void checked_write(u64 index)
{
    struct page_class *c = &classes[index];
    u64 at = write_place(index, c);
    u64 s = generator.state;
    u64 *page = (u64 *)(at & ~4095ull);
    struct record *record = &records[((u64)page - WORKLOAD_AT) / 4096];
    if (c->content == CONTENT_PAGE) {
        u64 from = pool_start(s);
        copy_words(page, (u64 *)POOL_AT + from, 512);
        record->sum = pool_sum(from);
    } else if (c->content == CONTENT_ZERO) {
        if (record->stamp) {
            fill_words(page, 0, 512);
            record->stamp = record->sum = 0;
            return;
        }
    } else {
        change_bytes(at, c->changed, record);
    }
    page[0] = s;
    record->stamp = s;
}

static void run_checked_batch(void)
{
    const u64 *schedule = (const u64 *)SCHEDULE_AT;
    for (u64 i = 0; i < batch; i++) {
        checked_write(schedule[schedule_index]);
        if (++schedule_index == schedule_writes)
            schedule_index = 0;
    }
    check_some();
}
#endif
