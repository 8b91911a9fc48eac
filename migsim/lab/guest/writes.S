/* The write loop. Under some hosts' KVM every guest instruction is emulated, so a write is as few
 * instructions as can be: 7 for `random` with 2, 4 or 8 bytes.
 *
 * The schedule is threaded code: an array of handler addresses with %rsp as its cursor; `ret` runs the
 * next. There is one handler for each class x pattern x content, so that a class's numbers have fixed
 * addresses. Nothing uses a stack here: no interrupts, no calls.
 *
 *   %r15  state of the generator, s = s * %r14 mod 2^64 (odd, so never 0)
 *   %rdx  address of the write
 */
#include "layout.h"

    .set SPAN, 0                          /* struct page_class, see guest.c */
    .set BASE, 8
    .set NEXT, 16
    .set LIMIT, 24
    .set CHANGED, 32

    .text
    .code64

/* void run_batch(struct generator *g): runs the schedule from g->cursor up to the next `pause`. */
    .globl run_batch
run_batch:
    push %rbx
    push %r14
    push %r15
    mov %rsp, saved_stack
    mov %rdi, saved_generator
    mov 0(%rdi), %r15
    mov 8(%rdi), %r14
    mov 16(%rdi), %rsp
    ret

    .globl handler_pause                  /* ends a batch */
handler_pause:
    mov saved_generator, %rdi
    mov %rsp, 16(%rdi)
    mov %r15, 0(%rdi)
    mov saved_stack, %rsp
    pop %r15
    pop %r14
    pop %rbx
    ret

    .globl handler_work                   /* fixed work after a write */
handler_work:
    mov work_iterations, %rcx
1:  dec %rcx
    jnz 1b
    ret

/* %rdx = base + a uniform byte of the span */
.macro AT_RANDOM class
    imul %r14, %r15
    mov %r15, %rax
    mulq classes + (\class << CLASS_SHIFT) + SPAN
    add classes + (\class << CLASS_SHIFT) + BASE, %rdx
.endm

/* %rdx = the next page, at an offset that moves by 8 each pass */
.macro AT_SWEEP class
    imul %r14, %r15
    mov classes + (\class << CLASS_SHIFT) + NEXT, %rdx
    lea 4096(%rdx), %rax
    mov %rax, classes + (\class << CLASS_SHIFT) + NEXT
    cmp classes + (\class << CLASS_SHIFT) + LIMIT, %rax
    jb 8f
    add $8, %eax
    and $0xFF8, %eax
    add classes + (\class << CLASS_SHIFT) + BASE, %rax
    mov %rax, classes + (\class << CLASS_SHIFT) + NEXT
8:
.endm

/* %rdx = base + a uniform byte of one of 1024 equally likely buckets */
.macro AT_ZIPF class
    imul %r14, %r15
    mov %r15, %rax
    mov %r15, %rbx
    shr $54, %rbx
    shl $10, %rax
    mulq ZIPF_AT + \class * ZIPF_CLASS_BYTES + 8192(, %rbx, 8)
    add ZIPF_AT + \class * ZIPF_CLASS_BYTES(, %rbx, 8), %rdx
    add classes + (\class << CLASS_SHIFT) + BASE, %rdx
.endm

.macro STORES class, at
9:  \at \class
    mov %r15b, (%rdx)
    ret
    .pushsection .handlers, "a"
    .quad 9b
    .popsection
9:  \at \class
    and $-2, %rdx
    mov %r15w, (%rdx)
    ret
    .pushsection .handlers, "a"
    .quad 9b
    .popsection
9:  \at \class
    and $-4, %rdx
    mov %r15d, (%rdx)
    ret
    .pushsection .handlers, "a"
    .quad 9b
    .popsection
9:  \at \class
    and $-8, %rdx
    mov %r15, (%rdx)
    ret
    .pushsection .handlers, "a"
    .quad 9b
    .popsection
9:  \at \class
    mov classes + (\class << CLASS_SHIFT) + CHANGED, %rcx
    jmp store_bytes
    .pushsection .handlers, "a"
    .quad 9b
    .popsection
9:  \at \class
    jmp store_page
    .pushsection .handlers, "a"
    .quad 9b
    .popsection
9:  \at \class
    jmp store_zero
    .pushsection .handlers, "a"
    .quad 9b
    .popsection
.endm

/* %rcx bytes from %rdx on, moved down where the page would end before */
store_bytes:
    and $-8, %rdx
    mov %edx, %eax
    and $4095, %eax
    lea -4096(%rax, %rcx), %rax           /* bytes beyond the page's end */
    test %rax, %rax
    jle 1f
    sub %rax, %rdx
1:  mov %rdx, %rdi
    mov %r15, %rax
    mov %ecx, %edx
    shr $3, %ecx
    rep stosq
    mov %edx, %ecx
    and $7, %ecx
    rep stosb
    ret

/* A whole page out of the pool, its first word fresh */
store_page:
    and $-4096, %rdx
    mov %rdx, %rdi
    mov %r15, %rsi
    shr $24, %rsi
    and $((POOL_WORDS - 1) * 8), %esi
    add $POOL_AT, %esi
    mov $512, %ecx
    rep movsq
    mov %r15, (%rdx)
    ret

/* A page that begins with a zero word gets a first word; any other becomes all zero */
store_zero:
    and $-4096, %rdx
    cmpq $0, (%rdx)
    je 1f
    mov %rdx, %rdi
    xor %eax, %eax
    mov $512, %ecx
    rep stosq
    ret
1:  mov %r15, (%rdx)
    ret

    .set class_index, 0
    .rept MAX_CLASSES
    STORES class_index, AT_RANDOM
    STORES class_index, AT_SWEEP
    STORES class_index, AT_ZIPF
    .set class_index, class_index + 1
    .endr

    .section .handlers, "a"
    .globl write_handlers                 /* [class][pattern][content] */
    .bss
    .balign 8
    .globl work_iterations
work_iterations: .quad 0
saved_stack: .quad 0
saved_generator: .quad 0
