/* The kernel's price of a macvlan DEL: one link deleted in the container's namespace.
 * Run by the benchmarks: detach-parent NETNS
 * Must never do anything else; see attach.c. */
#define _GNU_SOURCE
#include "container.h"

int main(int count, char **words)
{
    struct request r;
    struct ifinfomsg message = { 0 };

    if (count != 2)
        fail("detach-parent NETNS", EINVAL);
    enter(open_netns(words[1]));
    begin(&r, RTM_DELLINK, 0, &message, sizeof message);
    attribute(&r, IFLA_IFNAME, CONTAINER_LINK, sizeof CONTAINER_LINK);
    commit(open_netlink(), &r, "delete the link");
    return 0;
}
