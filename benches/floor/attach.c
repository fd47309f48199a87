/* The kernel's price of an ADD: one veth pair, its peer born in the container's namespace with its final name, the
 * host's end up and a port of the bridge in the same message; then address, up and default route.
 * Run by the benchmarks: attach NETNS HOST_LINK BRIDGE ADDRESS PREFIX_LENGTH GATEWAY
 * Must never check, record or report anything: it is what nobody can go below, not a plugin. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/veth.h>
#include <sched.h>

#include "netlink.h"

#define CONTAINER_LINK "eth0"

/* The index of a link; any socket of the namespace will do (net/core/dev_ioctl.c). */
static int index_of(int fd, const char *name)
{
    struct ifreq request = { 0 };

    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(fd, SIOCGIFINDEX, &request) < 0)
        fail(name, errno);
    return request.ifr_ifindex;
}

/* Widens an attribute over what was appended after it. */
static void close_nest(struct request *r, struct rtattr *nest)
{
    nest->rta_len = (char *)r + r->header.nlmsg_len - (char *)nest;
}

static void create_pair(int fd, int netns, const char *host_link, const char *bridge)
{
    struct request r;
    struct ifinfomsg host = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP }, peer = { 0 };
    int master = index_of(fd, bridge);
    struct rtattr *info, *data, *end;

    begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &host, sizeof host);
    attribute(&r, IFLA_IFNAME, host_link, strlen(host_link) + 1);
    attribute(&r, IFLA_MASTER, &master, sizeof master);
    info = attribute(&r, IFLA_LINKINFO, NULL, 0);
    attribute(&r, IFLA_INFO_KIND, "veth", sizeof "veth");
    data = attribute(&r, IFLA_INFO_DATA, NULL, 0);
    end = attribute(&r, VETH_INFO_PEER, NULL, 0);
    append(&r, &peer, sizeof peer);
    attribute(&r, IFLA_IFNAME, CONTAINER_LINK, sizeof CONTAINER_LINK);
    attribute(&r, IFLA_NET_NS_FD, &netns, sizeof netns);
    close_nest(&r, end);
    close_nest(&r, data);
    close_nest(&r, info);
    commit(fd, &r, "create the pair");
}

static void add_address(int fd, int link, struct in_addr address, int prefix_length)
{
    struct request r;
    struct ifaddrmsg message = {
        .ifa_family = AF_INET, .ifa_prefixlen = prefix_length, .ifa_index = link
    };

    begin(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &message, sizeof message);
    attribute(&r, IFA_LOCAL, &address, sizeof address);
    attribute(&r, IFA_ADDRESS, &address, sizeof address);
    commit(fd, &r, "add the address");
}

static void set_up(int fd, int link)
{
    struct request r;
    struct ifinfomsg message = { .ifi_index = link, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };

    begin(&r, RTM_NEWLINK, 0, &message, sizeof message);
    commit(fd, &r, "set the link up");
}

static void add_default_route(int fd, int link, struct in_addr gateway)
{
    struct request r;
    struct rtmsg message = { .rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN,
                             .rtm_protocol = RTPROT_BOOT, .rtm_scope = RT_SCOPE_UNIVERSE,
                             .rtm_type = RTN_UNICAST };

    begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &message, sizeof message);
    attribute(&r, RTA_GATEWAY, &gateway, sizeof gateway);
    attribute(&r, RTA_OIF, &link, sizeof link);
    commit(fd, &r, "add the default route");
}

int main(int count, char **words)
{
    struct in_addr address, gateway;
    int netns, fd, link;

    if (count != 7 || !inet_aton(words[4], &address) || !inet_aton(words[6], &gateway))
        fail("attach NETNS HOST_LINK BRIDGE ADDRESS PREFIX_LENGTH GATEWAY", EINVAL);
    netns = open(words[1], O_RDONLY | O_CLOEXEC);
    if (netns < 0)
        fail(words[1], errno);
    create_pair(open_netlink(), netns, words[2], words[3]);
    if (setns(netns, CLONE_NEWNET) < 0)
        fail("enter the namespace", errno);
    fd = open_netlink();
    link = index_of(fd, CONTAINER_LINK);
    add_address(fd, link, address, atoi(words[5]));
    set_up(fd, link);
    add_default_route(fd, link, gateway);
    return 0;
}
