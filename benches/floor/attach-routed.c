/* The kernel's price of a ptp ADD: one veth pair, up on the host; there the gateway's address and a route to the container;
 * inside the address alone, a route to the gateway, and by it to the subnet and everywhere.
 * Run by the benchmarks: attach-routed NETNS HOST_LINK ADDRESS PREFIX_LENGTH GATEWAY
 * Must never check, record or report anything; see attach.c. */
#define _GNU_SOURCE
#include "container.h"
#include "pair.h"

int main(int count, char **words)
{
    struct in_addr address, gateway, subnet;
    int netns, fd, link, prefix_length;

    if (count != 6 || !inet_aton(words[3], &address) || !inet_aton(words[5], &gateway))
        fail("attach-routed NETNS HOST_LINK ADDRESS PREFIX_LENGTH GATEWAY", EINVAL);
    prefix_length = atoi(words[4]);
    subnet.s_addr = address.s_addr & htonl(~0u << (32 - prefix_length));
    netns = open_netns(words[1]);
    fd = open_netlink();
    create_pair(fd, netns, words[2], NULL);
    link = index_of(fd, words[2]);
    add_address(fd, link, gateway, 32, 0);
    add_route(fd, link, address, 32, NULL);
    enter(netns);
    fd = open_netlink();
    link = index_of(fd, CONTAINER_LINK);
    add_address(fd, link, address, prefix_length, IFA_F_NOPREFIXROUTE);
    set_up(fd, link);
    add_route(fd, link, gateway, 32, NULL);
    add_route(fd, link, subnet, prefix_length, &gateway);
    add_default_route(fd, link, gateway);
    return 0;
}
