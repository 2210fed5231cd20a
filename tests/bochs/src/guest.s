/* The guest: an interpreter of the programs that program.rs lays out, and its interrupt handlers.
   rsi: the next operation; r9: the APIC-access page; rbp: the operation's offset or MSR; r10: its value. */
.text
.global guest_start
guest_start:
    lea rsi, [{program}]
    lea r9, [{apic_access}]
.Lnext:
    nop
    nop
    movzx eax, byte ptr [rsi]
    movzx ebp, word ptr [rsi + 2]
    mov r10, [rsi + 8]
    add rsi, 16
    jmp [.Loperations + rax * 8]

.Lend:
    vmcall
    jmp guest_start
.Lwrite_cr8:
    mov cr8, r10
    jmp .Lnext
.Lread_cr8:
    mov rax, cr8
    jmp .Lvalue
/* A read that exits is skipped; what it should have fetched stays 0. */
.Lread_byte:
    xor eax, eax
    mov al, [r9 + rbp]
    jmp .Lvalue
.Lread_word:
    xor eax, eax
    mov ax, [r9 + rbp]
    jmp .Lvalue
.Lread_doubleword:
    xor eax, eax
    mov eax, [r9 + rbp]
    jmp .Lvalue
.Lread_quadword:
    xor eax, eax
    mov rax, [r9 + rbp]
    jmp .Lvalue
.Lwrite_byte:
    mov [r9 + rbp], r10b
    jmp .Lnext
.Lwrite_word:
    mov [r9 + rbp], r10w
    jmp .Lnext
.Lwrite_doubleword:
    mov [r9 + rbp], r10d
    jmp .Lnext
.Lwrite_quadword:
    mov [r9 + rbp], r10
    jmp .Lnext
.Lread_msr:
    mov ecx, ebp
    xor eax, eax
    xor edx, edx
    rdmsr
    call .Llog_value
    mov rax, rdx
    jmp .Lvalue
.Lwrite_msr:
    mov ecx, ebp
    mov rax, r10
    mov rdx, r10
    shr rdx, 32
    wrmsr
    jmp .Lnext
.Lsti:
    sti
    nop
    jmp .Lnext
.Lcli:
    cli
    jmp .Lnext
.Lsti_cli:
    sti
    cli
    jmp .Lnext
.Lsti_hlt:
    sti
    hlt
    jmp .Lnext
.Lvalue:
    call .Llog_value
    jmp .Lnext

/* Logs eax as a value read. */
.Llog_value:
    mov eax, eax
    bts rax, 61
/* Logs rax; uses rcx. */
.Llog:
    mov rcx, [{count}]
    cmp rcx, {capacity}
    jae 2f
    mov [{log} + rcx * 8], rax
    inc qword ptr [{count}]
2:  ret

/* A handler: logs its vector, which its stub has pushed. An EOI is the program's affair. */
.Lhandler:
    push rax
    push rcx
    movzx eax, byte ptr [rsp + 16]
    bts rax, 60
    call .Llog
    pop rcx
    pop rax
    add rsp, 8
    iretq

/* A stub a vector, 16 bytes apart: push vector; jmp .Lhandler. */
.balign 16
.global guest_stubs
guest_stubs:
.set vector, 0
.rept 256
    .byte 0x68
    .long vector
    .byte 0xe9
    .long .Lhandler - . - 4
    .balign 16
    .set vector, vector + 1
.endr

.section .rodata
.balign 8
.Loperations:
    .quad .Lend, .Lwrite_cr8, .Lread_cr8
    .quad .Lread_byte, .Lread_word, .Lread_doubleword, .Lread_quadword
    .quad .Lwrite_byte, .Lwrite_word, .Lwrite_doubleword, .Lwrite_quadword
    .quad .Lread_msr, .Lwrite_msr
    .quad .Lsti, .Lcli, .Lsti_cli, .Lsti_hlt, .Lnext
.text
