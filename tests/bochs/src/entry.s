/* extern "C" fn enter_guest(registers: *mut u64, launched: u64) -> u64
   Loads the guest's registers from `registers` and enters it by VMLAUNCH (launched = 0) or VMRESUME. Returns after the next VM
   exit, its registers stored again: 0. Returns 1 if VM entry failed. RSP and RIP of both sides are the VMCS's. */
.text
.global enter_guest
enter_guest:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    push rdi
    mov eax, 0x6c14                 /* host RSP */
    vmwrite rax, rsp
    cmp rsi, 0
    mov rax, [rdi]
    mov rbx, [rdi + 8]
    mov rcx, [rdi + 16]
    mov rdx, [rdi + 24]
    mov rsi, [rdi + 32]
    mov rbp, [rdi + 48]
    mov r8, [rdi + 56]
    mov r9, [rdi + 64]
    mov r10, [rdi + 72]
    mov r11, [rdi + 80]
    mov r12, [rdi + 88]
    mov r13, [rdi + 96]
    mov r14, [rdi + 104]
    mov r15, [rdi + 112]
    mov rdi, [rdi + 40]
    jne 2f
    vmlaunch
    jmp 3f
2:  vmresume
3:  pop rdi
    mov eax, 1
    jmp 4f
.global guest_exited
guest_exited:
    xchg rdi, [rsp]
    mov [rdi], rax
    mov [rdi + 8], rbx
    mov [rdi + 16], rcx
    mov [rdi + 24], rdx
    mov [rdi + 32], rsi
    mov [rdi + 48], rbp
    mov [rdi + 56], r8
    mov [rdi + 64], r9
    mov [rdi + 72], r10
    mov [rdi + 80], r11
    mov [rdi + 88], r12
    mov [rdi + 96], r13
    mov [rdi + 104], r14
    mov [rdi + 112], r15
    pop rax
    mov [rdi + 40], rax
    xor eax, eax
4:  pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

/* A fault of the image itself: a stub a vector, as in guest.s. */
.Lfault:
    mov rdi, rsp
    call {fault}
.balign 16
.global fault_stubs
fault_stubs:
.set vector, 0
.rept 256
    .byte 0x68
    .long vector
    .byte 0xe9
    .long .Lfault - . - 4
    .balign 16
    .set vector, vector + 1
.endr
