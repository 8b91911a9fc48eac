/* Multiboot entry: from 32-bit protected mode to 64-bit long mode, the first 16 MiB mapped. */
#include "layout.h"

    .section .multiboot, "a"
    .balign 4
header:
    .long 0x1BADB002                      /* multiboot magic */
    .long 0x00010003                      /* page-aligned modules, memory map, address fields below */
    .long -(0x1BADB002 + 0x00010003)
    .long header
    .long image_start
    .long image_end
    .long bss_end
    .long start32

    .text
    .code32
    .globl start32
start32:
    cli
    cld
    mov %ebx, %ebp                        /* multiboot information */
    xor %eax, %eax
    mov $PML4_AT, %edi
    mov $((PD_AT - PML4_AT) / 4), %ecx
    rep stosl
    mov $PD_AT, %edi
    mov $1024, %ecx
    rep stosl
    movl $(PDPT_AT + TABLE_FLAGS), PML4_AT
    movl $(PD_AT + TABLE_FLAGS), PDPT_AT
    mov $PD_AT, %edi
    mov $LARGE_PAGE_FLAGS, %eax
    mov $8, %ecx
1:  mov %eax, (%edi)
    add $0x200000, %eax
    add $8, %edi
    loop 1b

    mov $PML4_AT, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x20, %eax                        /* PAE */
    mov %eax, %cr4
    mov $0xC0000080, %ecx                 /* EFER.LME */
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    or $0x80000001, %eax
    mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $0x08, $start64

    .balign 8
gdt:
    .quad 0
    .quad 0x00AF9B000000FFFF              /* 64-bit code, accessed */
    .quad 0x00CF93000000FFFF              /* data, accessed */
gdt_pointer:
    .word . - gdt - 1
    .long gdt

    .code64
start64:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $stack_top, %esp
    mov %ebp, %edi
    call guest_main
1:  hlt
    jmp 1b

    .bss
    .balign 16
    .space 8192
stack_top:
