/* The RAM there is (multiboot's map) and the page tables that make it one run of virtual addresses. */
#ifndef MEMORY_H
#define MEMORY_H

struct memory_range {
    u32 size;
    u64 base, length;
    u32 type;
} __attribute__((packed));

static u64 low_bytes, high_base, high_bytes, firmware_at;

static void find_memory(const struct multiboot_info *info)
{
    if (!(info->flags & 0x40))
        fail("no memory map from the loader", "multiboot");
    u64 at = info->mmap_addr, end = at + info->mmap_length;
    while (at < end) {
        const struct memory_range *range = (const struct memory_range *)at;
        at += range->size + 4;
        if (range->type != 1)
            continue;
        if (range->base >= 1ull << 32) {
            if (high_bytes && range->base != high_base + high_bytes)
                fail("RAM above 4 GiB is not one run", "memory map");
            if (!high_bytes)
                high_base = range->base;
            high_bytes += range->length;
        } else if (range->base >= 0x100000 && range->base + range->length > low_bytes) {
            low_bytes = range->base + range->length;
        }
    }
    /* the firmware's tables take the last few KiB below the hole; nothing here needs them: clear_firmware() */
    firmware_at = low_bytes & ~7ull;
    low_bytes = (low_bytes + 0xFFFFF) & ~0xFFFFFull;
    if (high_bytes && low_bytes & 0x1FFFFF)
        fail("RAM below 4 GiB does not end at 2 MiB", "memory map");
    ram_bytes = low_bytes + high_bytes;
    if (ram_bytes > (u64)PD_TABLES << 30)
        fail("more RAM than the guest maps", "1280 GiB");
}

static u64 *map_run(u64 *entry, u64 physical, u64 bytes)
{
    u64 value = physical | LARGE_PAGE_FLAGS;
    for (u64 *end = entry + (bytes + 0x1FFFFF) / 0x200000; entry != end; value += 0x200000)
        *entry++ = value;
    return entry;
}

static void map_memory(void)
{
    u64 tables = (ram_bytes + (1ull << 30) - 1) >> 30;
    u64 *pdpt = (u64 *)PDPT_AT;
    fill_words((u64 *)PD_AT + (tables - 1) * 512 + 8, 0, 504);
    for (u64 i = 0; i < tables; i++)
        pdpt[i] = (PD_AT + i * 4096) | TABLE_FLAGS;
    for (u64 i = 0; i * 512 < tables; i++)
        ((u64 *)PML4_AT)[i] = (PDPT_AT + i * 4096) | TABLE_FLAGS;
    u64 *next = map_run((u64 *)PD_AT, 0, low_bytes);
    map_run(next, high_base, high_bytes);
    __asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
}

static void clear_firmware(void)
{
    fill_words((u64 *)firmware_at, 0, (low_bytes - firmware_at) / 8);
}
#endif
