/* The kernel's price of an ADD: one veth pair, its peer born in the container's namespace with its final name, the
 * host's end up and a port of the bridge in the same message; then address, up and default route.
 * Run by the benchmarks: attach NETNS HOST_LINK BRIDGE ADDRESS PREFIX_LENGTH GATEWAY
 * Must never check, record or report anything: it is what nobody can go below, not a plugin. */
#define _GNU_SOURCE
#include "container.h"
#include "pair.h"

int main(int count, char **words)
{
    struct in_addr address, gateway;
    int netns, fd, link;

    if (count != 7 || !inet_aton(words[4], &address) || !inet_aton(words[6], &gateway))
        fail("attach NETNS HOST_LINK BRIDGE ADDRESS PREFIX_LENGTH GATEWAY", EINVAL);
    netns = open_netns(words[1]);
    create_pair(open_netlink(), netns, words[2], words[3]);
    enter(netns);
    fd = open_netlink();
    link = index_of(fd, CONTAINER_LINK);
    add_address(fd, link, address, atoi(words[5]), 0);
    set_up(fd, link);
    add_default_route(fd, link, gateway);
    return 0;
}
