/* The kernel's price of a DEL: one veth deleted that is a port of a bridge and has its peer in another namespace.
 * Run by the benchmarks: detach HOST_LINK
 * Must never do anything else; see attach.c. */
#include "netlink.h"

int main(int count, char **words)
{
    struct request r;
    struct ifinfomsg message = { 0 };

    if (count != 2)
        fail("detach HOST_LINK", EINVAL);
    begin(&r, RTM_DELLINK, 0, &message, sizeof message);
    attribute(&r, IFLA_IFNAME, words[1], strlen(words[1]) + 1);
    commit(open_netlink(), &r, words[1]);
    return 0;
}
