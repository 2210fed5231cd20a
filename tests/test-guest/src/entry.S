# Where the guest begins, its second vCPU begins, and every interrupt arrives. AT&T syntax.

.section .note.Xen, "a", @note
.balign 4
.long 4, 4, 18                          # XEN_ELFNOTE_PHYS32_ENTRY (public/elfnote.h)
.asciz "Xen"
.long pvh_start

# PVH entry (docs/misc/pvh.pandoc): 32-bit protected mode without paging, EBX holds the address of hvm_start_info.
.section .text
.code32
.globl pvh_start
pvh_start:
    cld
    mov %ebx, %ebp
    # The first 4 GiB map to themselves, by pages of 2 MiB.
    mov $pml4, %edi
    mov $pdpt, %eax
    or $3, %eax
    mov %eax, (%edi)
    mov $pdpt, %edi
    mov $directories, %eax
    or $3, %eax
    mov $4, %ecx
1:  mov %eax, (%edi)
    add $8, %edi
    add $4096, %eax
    loop 1b
    mov $directories, %edi
    mov $0x83, %eax
    mov $2048, %ecx
2:  mov %eax, (%edi)
    add $8, %edi
    add $0x200000, %eax
    loop 2b
    mov $first_start, %esi
    jmp enter_long_mode

# ESI: where to go on, in 64-bit mode.
enter_long_mode:
    mov %cr4, %eax
    or $0x620, %eax                     # PAE, OSFXSR, OSXMMEXCPT: Rust uses SSE registers
    mov %eax, %cr4
    mov $pml4, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx               # EFER
    rdmsr
    or $0x100, %eax                     # LME
    wrmsr
    mov %cr0, %eax
    and $0xfffffffb, %eax               # not EM
    or $0x80000003, %eax                # PG, MP, PE
    mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $8, $long_mode

.code64
long_mode:
    mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov %esi, %esi
    jmp *%rsi

first_start:
    mov $first_stack_top, %esp
    mov %ebp, %edi
    call first_main
    ud2

second_start:
    mov $second_stack_top, %esp
    call second_main
    ud2

# Gives the first vCPU's stack up and goes on with the next case.
.globl abandon_case
abandon_case:
    mov $first_stack_top, %esp
    call next_case
    ud2

# The second vCPU begins in real mode where the start-up IPI says, at 0x8000, to which this is copied.
.section .rodata
.code16
.globl trampoline, trampoline_end
trampoline:
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdtl (0x8000 + trampoline_gdt_pointer - trampoline)
    mov %cr0, %eax
    or $1, %eax
    mov %eax, %cr0
    ljmpl $24, $second_protected
trampoline_gdt_pointer:
    .word 31
    .long gdt
trampoline_end:

.section .text
.code32
second_protected:
    mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    # There is a stack for one of them.
    mov $1, %eax
    xchg %eax, second_taken
    test %eax, %eax
    jnz 3f
    mov $second_start, %esi
    jmp enter_long_mode
3:  hlt
    jmp 3b

.section .rodata
.balign 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff            # 8: 64-bit code
    .quad 0x00cf93000000ffff            # 16: data
    .quad 0x00cf9b000000ffff            # 24: 32-bit code
gdt_pointer:
    .word 31
    .long gdt

# Interrupts come only while a vCPU waits for them here: the gate says which one it was in RAX, and goes back with interrupts
# disabled. `sti` should keep them off until `hlt` has begun (SDM vol. 2B, STI), but under QEMU's emulated SVM one comes between
# the two now and then; a vCPU that then halted, with interrupts disabled, would be off for good.
.section .text
.code64
.globl wait_for_interrupt
wait_for_interrupt:
    xor %eax, %eax
    sti
halted:
    hlt
    cli                                 # a hypervisor may end a halt for no reason; then there was no gate
    ret
.macro gate vector
gate_\vector:
    mov $\vector, %eax
    jmp leave_gate
.endm
leave_gate:
    andl $~0x200, 16(%rsp)
    cmpq $halted, (%rsp)
    jne 1f
    incq (%rsp)                         # hlt is one byte long
1:  iretq
# An exception ends the case. Those with an error code have pushed it.
.macro exception_gate vector, pushed
exception_\vector:
    .if \pushed == 0
    push $0
    .endif
    mov $\vector, %edi
    mov %rsp, %rsi
    and $-16, %rsp
    call exception
    ud2
.endm
.altmacro
.set v, 0
.rept 32
    .if v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21 || v == 29 || v == 30
    exception_gate %v, 1
    .else
    exception_gate %v, 0
    .endif
    .set v, v + 1
.endr
.rept 224
    gate %v
    .set v, v + 1
.endr

.section .rodata
.balign 8
.globl gates
.macro address kind, vector
    .quad \kind\()_\vector
.endm
gates:
.set v, 0
.rept 32
    address exception, %v
    .set v, v + 1
.endr
.rept 224
    address gate, %v
    .set v, v + 1
.endr
.noaltmacro

.section .bss
.balign 4096
pml4: .skip 4096
pdpt: .skip 4096
directories: .skip 4 * 4096
.skip 65536
first_stack_top:
.skip 65536
second_stack_top:
.globl second_taken
second_taken: .skip 4
