// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/network.h"

#include <iterator>
#include <utility>
#include <vector>

namespace tandem {

ConnectionId Network::Connect(Party client, Party server) {
  const ConnectionId id = ++last_id_;
  Connection& connection = connections_[id];
  connection.client.party = std::move(client);
  connection.server.party = std::move(server);
  if (dead_.contains(connection.server.party.process)) HangUp(id, Side::kServer);
  return id;
}

void Network::Send(ConnectionId id, Side to, std::function<void()> what) {
  const auto it = connections_.find(id);
  if (it == connections_.end()) return;
  Receiver& receiver = to == Side::kClient ? it->second.client : it->second.server;
  if (receiver.open) receiver.messages.push_back(std::move(what));
}

void Network::Lose(ConnectionId id, Receiver& receiver, size_t kept) {
  if (!receiver.open) return;
  receiver.messages.resize(kept);
  receiver.messages.push_back([on_lost = receiver.party.on_lost, id] { on_lost(id); });
  receiver.open = false;
}

void Network::Shut(Receiver& receiver) {
  receiver.messages.clear();
  receiver.open = false;
}

void Network::HangUp(ConnectionId id, Side by) {
  const auto it = connections_.find(id);
  if (it == connections_.end()) return;
  Connection& connection = it->second;
  const bool client = by == Side::kClient;
  Receiver& other = client ? connection.server : connection.client;
  Shut(client ? connection.client : connection.server);
  Lose(id, other, other.messages.size());
}

void Network::Break(ConnectionId id) {
  Connection& connection = connections_.at(id);
  for (Receiver* receiver : {&connection.client, &connection.server})
    Lose(id, *receiver, random_.Below(receiver->messages.size() + 1));
}

ConnectionId Network::AnyStanding() const {
  std::vector<ConnectionId> standing;
  for (const auto& [id, connection] : connections_) {
    if (connection.client.open && connection.server.open) standing.push_back(id);
  }
  return standing.empty() ? 0 : standing[random_.Below(standing.size())];
}

void Network::Kill(ProcessId process) {
  dead_.insert(process);
  for (auto& [id, connection] : connections_) {
    Receiver* const ends[] = {&connection.client, &connection.server};
    for (int i = 0; i < 2; ++i) {
      if (ends[i]->party.process != process) continue;
      Receiver& other = *ends[1 - i];
      Shut(*ends[i]);
      Lose(id, other, random_.Below(other.messages.size() + 1));
    }
  }
}

bool Network::Deliver() {
  std::vector<Receiver*> waiting;
  for (auto it = connections_.begin(); it != connections_.end();) {
    bool over = true;
    for (Receiver* receiver : {&it->second.client, &it->second.server}) {
      if (!receiver->messages.empty()) waiting.push_back(receiver);
      over = over && !receiver->open && receiver->messages.empty();
    }
    it = over ? connections_.erase(it) : std::next(it);
  }
  if (waiting.empty()) return false;
  Receiver& receiver = *waiting[random_.Below(waiting.size())];
  const std::function<void()> message = std::move(receiver.messages.front());
  receiver.messages.pop_front();
  message();
  return true;
}

}  // namespace tandem
