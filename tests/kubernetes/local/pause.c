/* What holds a pod's network while its containers come and go: it waits for the end. */
#include <signal.h>
#include <unistd.h>

static void quit(int signal) {
    (void)signal;
    _exit(0);
}

int main(void) {
    signal(SIGTERM, quit);
    signal(SIGINT, quit);
    for (;;)
        pause();
}
