/* What the programs of these tests count of themselves. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

static int open_descriptors(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}

static int mapped_segments(void) {
    int count = 0;
    char line[1024];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps)) count += strstr(line, "hushwire-swap") != NULL;
    fclose(maps);
    return count;
}
