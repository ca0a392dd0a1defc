// L01, L23: looks at every process that it can see, without end, and says what it should not have been able to see.
// Static; run as a container's program. Its arguments are the runtime's programs, to know them by their inodes. Lines:
// "ready"; "seen" at the first process of the runtime's; "exe PROGRAM MOUNT" for one of the runtime's programs that could
// be opened, MOUNT is readonly or writable; "wrote PROGRAM" when it could be opened for writing; each of these once; and
// "leak PID WHAT TARGET", at most 200.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static void say(const char *text) { (void)!write(1, text, strlen(text)); }

static int is_ours(const char *pid) {
  char path[64], name[32] = "";
  snprintf(path, sizeof path, "/proc/%s/comm", pid);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  long count = read(file, name, sizeof name - 1);
  close(file);
  return count > 0 && strncmp(name, "swiftlet-shim", 13) == 0;
}

static int which(int file);

// A program may become another one at any time: what was open counts only if it was the runtime's still. The kernel lets
// others look at the new program a moment before it has the new name.
static void leak(const char *pid, const char *what, const char *target) {
  static int lines;
  char line[512], path[64];
  if (!is_ours(pid)) return;
  snprintf(path, sizeof path, "/proc/%s/exe", pid);
  int file = open(path, O_PATH | O_CLOEXEC);
  int other = file >= 0 && which(file) < 0;
  if (file >= 0) close(file);
  if (other) return;
  snprintf(line, sizeof line, "leak %s %s %s\n", pid, what, target);
  if (lines++ < 200) say(line);
}

static int program_count;
static char **programs;
static struct stat known[8];

// Which of the arguments a file is, or -1.
static int which(int file) {
  struct stat found;
  if (fstat(file, &found) != 0) return -1;
  for (int i = 0; i < program_count; i++)
    if (found.st_ino == known[i].st_ino && found.st_dev == known[i].st_dev) return i;
  return -1;
}

static void look_at_program(const char *pid) {
  static int told[8][2], overwritten[8];
  char path[64], line[512];
  snprintf(path, sizeof path, "/proc/%s/exe", pid);
  int file = open(path, O_PATH | O_CLOEXEC);
  if (file < 0) return;
  int index = which(file);
  struct statvfs mount;
  if (index >= 0 && fstatvfs(file, &mount) == 0) {
    int readonly = (mount.f_flag & ST_RDONLY) != 0;
    snprintf(line, sizeof line, "exe %s %s\n", programs[index], readonly ? "readonly" : "writable");
    if (!told[index][readonly]++) say(line);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    int writable = open(path, O_WRONLY | O_CLOEXEC);
    if (writable >= 0) {
      snprintf(line, sizeof line, "wrote %s\n", programs[index]);
      if (!overwritten[index]++) say(line);
      close(writable);
    }
  }
  close(file);
}

static void look_inside(const char *pid) {
  static const char *const places[] = {"root", "cwd", "ns/mnt", "ns/pid"};
  char path[64], target[256];
  for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
    snprintf(path, sizeof path, "/proc/%s/%s", pid, places[i]);
    int file = open(path, O_PATH | O_CLOEXEC);
    if (file < 0) continue;
    close(file);
    leak(pid, places[i], "");
  }
  // The shim's environment is empty, and so reads nothing even for those who may look: opening it is what counts.
  static const char *const texts[] = {"mem", "environ", "auxv"};
  for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
    snprintf(path, sizeof path, "/proc/%s/%s", pid, texts[i]);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    close(file);
    leak(pid, texts[i], "");
  }
  for (int number = 0; number < 24; number++) {
    snprintf(path, sizeof path, "/proc/%s/fd/%d", pid, number);
    long count = readlink(path, target, sizeof target - 1);
    if (count < 0) continue;
    target[count] = 0;
    leak(pid, strrchr(path, '/') + 1, target);
  }
}

int main(int argc, char **argv) {
  int seen = 0;
  programs = argv + 1;
  for (program_count = 0; program_count < argc - 1 && program_count < 8; program_count++)
    if (stat(programs[program_count], &known[program_count]) != 0) return 2;
  say("ready\n");
  for (;;) {
    DIR *processes = opendir("/proc");
    if (!processes) return 1;
    for (struct dirent *entry; (entry = readdir(processes));) {
      if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
      look_at_program(entry->d_name);
      if (!is_ours(entry->d_name)) continue;
      if (!seen++) say("seen\n");
      look_inside(entry->d_name);
    }
    closedir(processes);
  }
}
