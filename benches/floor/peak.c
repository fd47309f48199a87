/* Runs a program and writes the most memory that was ever resident in it, in kilobytes (getrusage(2), ru_maxrss).
 * Run by the benchmarks: peak FILE PROGRAM [ARGUMENT]...; exits as the program did.
 * Must stay small and static: a process begins with the peak of the one that it was spawned from (exec_mmap() in
 * fs/exec.c), so this one's own size is the least that can be told. */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>

extern char **environ;

int main(int count, char **words)
{
    struct rusage usage;
    pid_t child;
    int status;
    FILE *file;

    if (count < 3 || posix_spawn(&child, words[2], NULL, NULL, words + 2, environ) != 0)
        return 127;
    if (wait4(child, &status, 0, &usage) < 0 || !(file = fopen(words[1], "w")))
        return 127;
    fprintf(file, "%ld\n", usage.ru_maxrss);
    fclose(file);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}
