/* Where the guest keeps things below WORKLOAD_AT, shared by assembler and C.
 * The image lies at 1 MiB; QEMU puts the command line right behind it. */
#ifndef LAYOUT_H
#define LAYOUT_H

#define PML4_AT 0x200000
#define PDPT_AT 0x201000                  /* up to 15 tables */
#define PD_AT 0x210000                    /* up to PD_TABLES tables, one per GiB */
#define PD_TABLES 1280
#define POOL_AT 0x800000                  /* random words that whole-page writes copy from */
#define POOL_WORDS 8192                   /* where a copy may start; 512 more follow */
#define PREFIX_AT 0x820000                /* sums of the pool's words, for check=1 */
#define ZIPF_AT 0x900000                  /* per class: 1024 bucket starts, 1024 bucket lengths */
#define ZIPF_CLASS_BYTES 16384
#define SCHEDULE_AT 0xA00000              /* threaded code: addresses of write handlers */
#define WORKLOAD_AT 0x1000000

/* Present, writable, and already accessed (and dirty): the tables are never written by page walks. */
#define TABLE_FLAGS 0x23
#define LARGE_PAGE_FLAGS 0xE3

#define MAX_CLASSES 16
#define CLASS_SHIFT 6                     /* struct page_class is 64 bytes */

#define PATTERN_RANDOM 0
#define PATTERN_SWEEP 1
#define PATTERN_ZIPF 2
#define CONTENT_BYTE 0                    /* 1, 2, 4, 8 bytes: one store */
#define CONTENT_WORD 1
#define CONTENT_LONG 2
#define CONTENT_QUAD 3
#define CONTENT_BYTES 4                   /* any other number */
#define CONTENT_PAGE 5
#define CONTENT_ZERO 6
#define CONTENTS 7

#endif
