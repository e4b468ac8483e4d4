/* Takes the place of python3: hands its command to the server of warm_python.py and ends as the command does.
 *
 * The request is a message of words that each end with a zero byte: the number of arguments, the arguments, the working
 * directory, the environment. With it go the streams 0 to 2. A signal is handed on as one byte; the answer is the exit
 * status in decimal, negative where a signal ended the command. Commands that need torch have a server of their own.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

extern char **environ;
static int server;
static char request[1 << 20];
static size_t length;

static void forward(int number) {
    char byte = number;
    (void)!write(server, &byte, 1);
}

static void add(const char *word) {
    size_t size = strlen(word) + 1;
    if (length + size > sizeof request)
        exit(120);
    memcpy(request + length, word, size);
    length += size;
}

static int is_heavy(int count, char **words) {
    const char *commands[] = {"train", "average_checkpoints", "extract_embeddings", "plan", "compute_features"};
    const char *package = "sslsv_tk.bin.";
    if (count < 3 || strcmp(words[1], "-m") || strncmp(words[2], package, strlen(package)))
        return 0;
    for (int i = 0; i < 5; i++)
        if (!strcmp(words[2] + strlen(package), commands[i]))
            return 1;
    return 0;
}

static void call(const char *name) {
    char rights[CMSG_SPACE(3 * sizeof(int))] = {0};
    struct iovec piece = {request, length};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = rights, .msg_controllen = sizeof rights};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(3 * sizeof(int));
    memcpy(CMSG_DATA(header), (int[]){0, 1, 2}, 3 * sizeof(int));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", FOLDER, name);
    int size = 4 << 20;
    server = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    setsockopt(server, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (connect(server, (struct sockaddr *)&address, sizeof address) || sendmsg(server, &message, 0) < 0) {
        perror(address.sun_path);
        exit(120);
    }
}

int main(int count, char **words) {
    const int forwarded[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    char number[16], folder[4096], answer[64] = {0};
    snprintf(number, sizeof number, "%d", count - 1);
    add(number);
    for (int i = 1; i < count; i++)
        add(words[i]);
    add(getcwd(folder, sizeof folder) ? folder : "/");
    for (char **line = environ; *line; line++)
        add(*line);
    call(is_heavy(count, words) ? "heavy" : "light");
    for (int i = 0; i < 4; i++) {
        struct sigaction before, after = {.sa_handler = forward, .sa_flags = SA_RESTART};
        sigaction(forwarded[i], NULL, &before);
        if (before.sa_handler != SIG_IGN)
            sigaction(forwarded[i], &after, NULL);
    }
    for (int i = 1; i < count; i++)
        if (!strcmp(words[i], "--end-with-parent")) /* the command cannot ask for it: its parent is the server */
            prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (read(server, answer, sizeof answer - 1) <= 0)
        return 1;
    int code = atoi(answer);
    if (code < 0) {
        signal(-code, SIG_DFL);
        kill(getpid(), -code);
    }
    _exit(code);
}
