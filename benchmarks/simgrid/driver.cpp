// Run SimGrid's live-migration plug-in over a grid of scenarios, one migration after the other in one simulation.
//
// Input, one line a scenario: RAM in bytes, bandwidth in bytes a second, bytes dirtied a second as a share of the
// bandwidth. Output, one line a scenario: simulated seconds of the migration; on stderr: wall-clock seconds of all.
//
// SimGrid's own default network model; two hosts, one link, one VM with one task that computes all the time. The
// plug-in loops for ever on a guest that does not converge, so every scenario given has to converge.
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include <simgrid/plugins/live_migration.h>
#include <simgrid/s4u.hpp>

namespace s4u = simgrid::s4u;

struct Scenario {
  double ram_bytes, bytes_per_s, dirty_share;
  double took_s = 0.0;
};

static double migrate(Scenario const& wanted, s4u::Host* source, s4u::Host* destination, int number)
{
  auto* vm = sg_vm_create_migratable(source, ("vm" + std::to_string(number)).c_str(), 1, 1, 1, 0);
  vm->set_ramsize(static_cast<size_t>(wanted.ram_bytes));
  sg_vm_set_working_set_memory(vm, static_cast<sg_size_t>(wanted.ram_bytes * 0.9)); // the plug-in's own default share
  sg_vm_set_migration_speed(vm, wanted.bytes_per_s);
  sg_vm_set_dirty_page_intensity(vm, wanted.dirty_share);
  vm->start();
  auto work = s4u::Actor::create("work", vm, [] { s4u::this_actor::execute(1e18); });
  const double begun = s4u::Engine::get_clock();
  sg_vm_migrate(vm, destination);
  const double took = s4u::Engine::get_clock() - begun;
  work->kill();
  vm->destroy();
  return took;
}

int main(int argc, char* argv[])
{
  s4u::Engine engine(&argc, argv);
  sg_vm_live_migration_plugin_init();

  std::vector<Scenario> grid;
  for (Scenario one{}; std::scanf("%lf %lf %lf", &one.ram_bytes, &one.bytes_per_s, &one.dirty_share) == 3;)
    grid.push_back(one);

  auto* zone        = s4u::create_full_zone("zone");
  auto* source      = zone->create_host("source", 1e9)->seal();
  auto* destination = zone->create_host("destination", 1e9)->seal();
  auto* link        = zone->create_link("link", 1e12)->set_latency(1e-4)->seal(); // the migration speed is the limit
  zone->add_route(source->get_netpoint(), destination->get_netpoint(), nullptr, nullptr, {s4u::LinkInRoute(link)});
  zone->seal();

  s4u::Actor::create("migrations", source, [&grid, source, destination] {
    int number = 0;
    for (auto& one : grid)
      one.took_s = migrate(one, source, destination, number++);
  });

  const auto begun = std::chrono::steady_clock::now();
  engine.run();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  for (auto const& one : grid)
    std::printf("%.6f\n", one.took_s);
  std::fprintf(stderr, "%.6f\n", took.count());
  return 0;
}
