.section .text.start, "ax"
.global start
start:
    lea rdi, [zeros_begin]
    lea rcx, [zeros_end]
    sub rcx, rdi
    xor eax, eax
    rep stosb
    mov rsp, 0x90000
    call {main}
    ud2

/* The four routines that compiled code calls unasked. */
.text
.global memcpy
.global memmove
.global memset
.global memcmp
.global bcmp
memmove:
    mov rax, rdi
    cmp rdi, rsi
    jbe .Lforward
    mov rcx, rdx
    lea rdi, [rdi + rdx - 1]
    lea rsi, [rsi + rdx - 1]
    std
    rep movsb
    cld
    ret
memcpy:
    mov rax, rdi
.Lforward:
    mov rcx, rdx
    shr rcx, 3
    rep movsq
    mov ecx, edx
    and ecx, 7
    rep movsb
    ret
memset:
    mov r8, rdi
    movzx eax, sil
    mov r9, 0x0101010101010101
    imul rax, r9
    mov rcx, rdx
    shr rcx, 3
    rep stosq
    mov ecx, edx
    and ecx, 7
    rep stosb
    mov rax, r8
    ret
bcmp:
memcmp:
    mov rcx, rdx
    xor eax, eax
    cmp rcx, rcx
    repe cmpsb
    je 2f
    movzx eax, byte ptr [rdi - 1]
    movzx ecx, byte ptr [rsi - 1]
    sub eax, ecx
2:  ret
