/* The command line: what follows the token `--`, key=value pairs apart by spaces. */
#ifndef COMMAND_LINE_H
#define COMMAND_LINE_H

struct multiboot_info {
    u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4], mmap_length, mmap_addr;
};

/* Where `text` goes on after `word`, or 0 */
static const char *after(const char *text, const char *word)
{
    while (*word)
        if (*text++ != *word++)
            return 0;
    return text;
}

static int at_end(char c)
{
    return c == 0 || c == ' ';
}

static u64 number(const char **text, const char *whole)
{
    const char *p = *text;
    u64 value = 0;
    if (*p < '0' || *p > '9')
        fail("a number is missing in", whole);
    for (; *p >= '0' && *p <= '9'; p++) {
        if (value > (~0ull - 9) / 10)
            fail("number too large in", whole);
        value = value * 10 + (u64)(*p - '0');
    }
    *text = p;
    return value;
}

static u64 number_before_colon(const char **text, const char *whole)
{
    u64 value = number(text, whole);
    if (*(*text)++ != ':')
        fail("not BASE:PAGES:SHARE:PATTERN:CONTENT", whole);
    return value;
}

static void parse_content(struct page_class *c, const char **p, const char *whole)
{
    const char *rest;
    if ((rest = after(*p, "bytes="))) {
        c->changed = number(&rest, whole);
        if (c->changed < 1 || c->changed > (checking ? 4088 : 4096))
            fail("changed bytes not from 1 to 4096 (check=1: 4088)", whole);
        c->content = c->changed == 1   ? CONTENT_BYTE
                     : c->changed == 2 ? CONTENT_WORD
                     : c->changed == 4 ? CONTENT_LONG
                     : c->changed == 8 ? CONTENT_QUAD
                                       : CONTENT_BYTES;
    } else if ((rest = after(*p, "page"))) {
        c->content = CONTENT_PAGE;
    } else if ((rest = after(*p, "zero"))) {
        c->content = CONTENT_ZERO;
    } else {
        fail("unknown content in", whole);
    }
    *p = rest;
}

static void parse_class(const char **text, const char *whole)
{
    const char *p = *text, *rest;
    if (class_count == MAX_CLASSES)
        fail("more than 16 classes", whole);
    struct page_class *c = &classes[class_count++];
    u64 first = number_before_colon(&p, whole);
    u64 pages = number_before_colon(&p, whole);
    if (!pages || pages >> 28 || first >> 28)
        fail("pages not from 1 to 2^28 in", whole);
    c->base = WORKLOAD_AT + first * 4096;
    c->span = pages * 4096;
    c->weight = number_before_colon(&p, whole);
    if (c->weight > 4096)
        fail("weight above 4096 in", whole);
    if ((rest = after(p, "random:"))) {
        c->pattern = PATTERN_RANDOM;
    } else if ((rest = after(p, "sweep:"))) {
        c->pattern = PATTERN_SWEEP;
    } else if ((rest = after(p, "zipf="))) {
        c->pattern = PATTERN_ZIPF;
        c->next = number_before_colon(&rest, whole);      /* kept here until the tables are built */
        if (c->next > 8000 || pages >> 27)
            fail("zipf exponent above 8000 or pages above 2^27 in", whole);
    } else {
        fail("unknown pattern in", whole);
    }
    parse_content(c, &rest, whole);
    *text = rest;
}

static void parse_setting(const char **text)
{
    static const struct {
        const char *key;
        u64 *value, most;
    } numbers[] = {
        {"touch=", &touched, 1ull << 28}, {"rate=", &writes_per_s, 100000000}, {"check=", &checking, 1},
        {"report=", &report_ms, 3600000}, {"seed=", &seed, ~0ull},             {"work=", &work_iterations, 1ull << 32},
        {"tsc_khz=", &tsc_khz, 100000000}, {"damage=", &damage_page, 1ull << 28},
    };
    const char *whole = *text, *rest;
    for (u32 i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if ((rest = after(whole, numbers[i].key))) {
            *numbers[i].value = number(&rest, whole);
            if (*numbers[i].value > numbers[i].most)
                fail("number too large in", whole);
            *text = rest;
            return;
        }
    if ((rest = after(whole, "class=")))
        parse_class(&rest, whole);
    else if ((rest = after(whole, "pace=clock")))
        clock_paced = 1;
    else if ((rest = after(whole, "pace=closed")))
        clock_paced = 0;
    else if ((rest = after(whole, "fill=page")))
        fill_pages = 1;
    else if ((rest = after(whole, "fill=word")))
        fill_pages = 0;
    else
        fail("unknown setting", whole);
    *text = rest;
}

static void parse_command_line(const struct multiboot_info *info)
{
    if (!(info->flags & 4))
        fail("no command line from the loader", "multiboot");
    const char *text = (const char *)(u64)info->cmdline, *p = text;
    for (; *p; p++)                       /* the image's own path comes first and may hold spaces */
        if (p[0] == ' ' && p[1] == '-' && p[2] == '-' && at_end(p[3]))
            text = p + 3;
    if (text == (const char *)(u64)info->cmdline)
        fail("no -- before the settings", "command line");
    for (;;) {
        while (*text == ' ')
            text++;
        if (!*text)
            break;
        const char *whole = text;
        parse_setting(&text);
        if (!at_end(*text))
            fail("cannot read the end of", whole);
    }
    if (clock_paced && !writes_per_s)
        fail("pace=clock needs", "rate=");
    if (!report_ms)
        fail("report must be above 0", "report=");
    if (checking && work_iterations)
        fail("check=1 does not go with", "work=");
}
#endif
