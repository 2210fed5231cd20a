/* The second CPU begins here, in real mode with CS at this page: into 64-bit mode with the page tables of the boot sector. */
.section .text.second, "ax"
.balign 4096
.global second_start
second_start:
.code16
    cli
    mov ax, cs
    mov ds, ax
    .byte 0x66, 0x0f, 0x01, 0x16    /* LGDT with a base of 32 bits, by its place in this page */
    .word .Lgdt_pointer - second_start
    mov eax, 0x620                  /* PAE, OSFXSR, OSXMMEXCPT */
    mov cr4, eax
    mov eax, 0x1000
    mov cr3, eax
    mov ecx, 0xc0000080             /* IA32_EFER.LME */
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, 0x80000033             /* PG, NE, ET, MP, PE */
    mov cr0, eax
    .byte 0x66, 0xea                /* a far jump with 32 bits */
    .long .Lsixty_four
    .word 24
.balign 8
.Lgdt:
    .quad 0, 0, 0x00cf92000000ffff, 0x00af9a000000ffff
.Lgdt_pointer:
    .word 31
    .long .Lgdt
.code64
.Lsixty_four:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    lea rsp, [{stack} + {stack_size}]
    call {main}
    ud2
.text
