/* What a process finds when it tries: run inside containers by the tests `escape` and `runtimes`, linked statically.
 * usage: probe calls      the answer to each system call, made with arguments that no call can use
 *        probe keys       whether keys of the kernel can be made or read
 *        probe limits     the resource limits, as soft and hard
 * It must never do anything but print: a call that could, is left out by name.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* They end or stop a process, make one, wait for ever, sync every disk of the host, or answer otherwise the second time. */
static const long UNTRIED[] = {
    SYS_exit, SYS_exit_group, SYS_fork, SYS_vfork, SYS_clone, SYS_rt_sigreturn, SYS_pause, SYS_sync, SYS_rt_sigsuspend,
    SYS_msgget,
};
/* The first that is newer than every rule of the default filter. From here on runc says ENOSYS where others say EPERM. */
enum { NEWER = 457 };

static int untried(long number) {
    for (unsigned i = 0; i < sizeof UNTRIED / sizeof *UNTRIED; i++)
        if (UNTRIED[i] == number) return 1;
    return 0;
}

/* Each in a process of its own, so that what it may change changes nobody else. */
static void try_call(long number) {
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        errno = 0;
        long answer = syscall(number, -1L, -1L, -1L, -1L, -1L, -1L);
        _exit(answer == -1 ? errno : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status)) printf("%ld %s\n", number, strerrorname_np(WEXITSTATUS(status)));
    else printf("%ld signal %d\n", number, WTERMSIG(status));
}

static void calls(void) {
    for (long number = 0; number < NEWER; number++)
        if (!untried(number)) try_call(number);
    /* Of the x32 ABI. */
    try_call(0x40000000 + SYS_getpid);
}

static void say(const char *what, long answer) {
    printf("%s %s\n", what, answer == -1 ? strerrorname_np(errno) : "done");
}

static void keys(void) {
    say("add_key", syscall(SYS_add_key, "user", "probe", "x", 1L, -3L));
    say("request_key", syscall(SYS_request_key, "user", "probe", NULL, -3L));
    say("keyctl", syscall(SYS_keyctl, 0L, -3L, 0L));
}

static void limits(void) {
    for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
        struct rlimit limit;
        getrlimit(resource, &limit);
        printf("%d %lld %lld\n", resource, (long long)limit.rlim_cur, (long long)limit.rlim_max);
    }
}

int main(int count, char **words) {
    setvbuf(stdout, NULL, _IONBF, 0);
    const char *what = count == 2 ? words[1] : "";
    if (!strcmp(what, "calls")) calls();
    else if (!strcmp(what, "keys")) keys();
    else if (!strcmp(what, "limits")) limits();
    else return 2;
    return 0;
}
