/* The kernel's price of a macvlan ADD: one link on a parent, born in the container's namespace with its final name; there
 * neighbours are told when it comes up (two kernel parameters); then address, up and default route.
 * Run by the benchmarks: attach-parent NETNS PARENT ADDRESS PREFIX_LENGTH GATEWAY
 * Must never check, record or report anything; see attach.c. */
#define _GNU_SOURCE
#include "container.h"

static void create(int fd, int netns, const char *parent)
{
    struct request r;
    struct ifinfomsg message = { 0 };
    int lower = index_of(fd, parent), mode = MACVLAN_MODE_BRIDGE;
    struct rtattr *info, *data;

    begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &message, sizeof message);
    attribute(&r, IFLA_IFNAME, CONTAINER_LINK, sizeof CONTAINER_LINK);
    attribute(&r, IFLA_LINK, &lower, sizeof lower);
    attribute(&r, IFLA_NET_NS_FD, &netns, sizeof netns);
    info = attribute(&r, IFLA_LINKINFO, NULL, 0);
    attribute(&r, IFLA_INFO_KIND, "macvlan", sizeof "macvlan");
    data = attribute(&r, IFLA_INFO_DATA, NULL, 0);
    attribute(&r, IFLA_MACVLAN_MODE, &mode, sizeof mode);
    close_nest(&r, data);
    close_nest(&r, info);
    commit(fd, &r, "create the link");
}

static void set(const char *parameter)
{
    int fd = open(parameter, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, "1", 1) != 1)
        fail(parameter, errno);
    close(fd);
}

int main(int count, char **words)
{
    struct in_addr address, gateway;
    int netns, fd, link;

    if (count != 6 || !inet_aton(words[3], &address) || !inet_aton(words[5], &gateway))
        fail("attach-parent NETNS PARENT ADDRESS PREFIX_LENGTH GATEWAY", EINVAL);
    netns = open_netns(words[1]);
    create(open_netlink(), netns, words[2]);
    enter(netns);
    fd = open_netlink();
    link = index_of(fd, CONTAINER_LINK);
    set("/proc/sys/net/ipv4/conf/" CONTAINER_LINK "/arp_notify");
    set("/proc/sys/net/ipv6/conf/" CONTAINER_LINK "/ndisc_notify");
    add_address(fd, link, address, atoi(words[4]), 0);
    set_up(fd, link);
    add_default_route(fd, link, gateway);
    return 0;
}
