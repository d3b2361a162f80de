//! What lies between client, gateway and instances, and is cut.

use anyhow::Result;

use crate::world::World;

/// A link of a world's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// Between the client and the gateway.
    Front,
    /// Between the gateway and this instance.
    Back(usize),
}

impl World {
    /// Cuts a link, both ways. When this returns nothing comes through any more.
    pub(crate) async fn cut(&self, link: Link) -> Result<()> {
        match link {
            Link::Front => self.front.disconnect(self.client.container.id()).await,
            Link::Back(n) => {
                let id = self.instances[n].container.id();
                self.back.disconnect(id).await
            }
        }
    }

    /// Mends it: the container has the address that it had before.
    pub(crate) async fn mend(&self, link: Link) -> Result<()> {
        let (network, node) = match link {
            Link::Front => (&self.front, &self.client),
            Link::Back(n) => (&self.back, &self.instances[n]),
        };
        network.connect(node.container.id(), node.address).await
    }
}
